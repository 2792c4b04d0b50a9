package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// crowd is how many requests come at once in the step about that.
const crowd = 20

// narrate makes the requests. Each step is told as it should go; what happened is
// printed, and anything else is an error.
func (d *demo) narrate(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.goodToken, d.expiredToken, d.expiredTokenWithBody, d.unknownTenant, d.restart, d.manyAtOnce,
	} {
		d.steps++
		if err := step(ctx); err != nil {
			return fmt.Errorf("step %d: %w", d.steps, err)
		}
	}
	return nil
}

func (d *demo) goodToken(ctx context.Context) error {
	d.title("A request for globex, whose access token is good")
	return d.exchange(ctx, http.MethodGet, "globex", nil,
		event{"app sent", "GET, X-Tenant-ID: globex", "no token"},
		event{"API saw", "GET with globex-access-1-...", "200"},
		event{"app got", "200 OK", "answered for globex"},
	)
}

func (d *demo) expiredToken(ctx context.Context) error {
	d.title("A request for acme, whose access token has expired: refreshed and sent again")
	return d.exchange(ctx, http.MethodGet, "acme", nil,
		event{"app sent", "GET, X-Tenant-ID: acme", "no token"},
		event{"API saw", "GET with acme-access-1-...", "401"},
		event{"token endpoint", "acme-refresh-1-... spent", "acme-refresh-2-... issued"},
		event{"API saw", "GET with acme-access-2-...", "200"},
		event{"app got", "200 OK", "answered for acme"},
	)
}

func (d *demo) expiredTokenWithBody(ctx context.Context) error {
	d.title("A request with a body for globex, whose access token has expired meanwhile")
	d.auth.expire("globex")
	body := bytes.Repeat([]byte("an invoice line of 32 characters"), 5000)
	digest := sha256.Sum256(body)
	label := bodyLabel(int64(len(body)), digest[:])
	return d.exchange(ctx, http.MethodPost, "globex", body,
		event{"app sent", "POST, X-Tenant-ID: globex", "no token, " + label},
		event{"API saw", "POST with globex-access-1-...", "401, " + label},
		event{"token endpoint", "globex-refresh-1-... spent", "globex-refresh-2-... issued"},
		event{"API saw", "POST with globex-access-2-...", "200, " + label},
		event{"app got", "200 OK", "answered for globex"},
	)
}

func (d *demo) unknownTenant(ctx context.Context) error {
	d.title("A request for a tenant without a credential: the API is not asked")
	return d.exchange(ctx, http.MethodGet, "initech", nil,
		event{"app sent", "GET, X-Tenant-ID: initech", "no token"},
		event{"app got", "403 Forbidden", "Upstream-Auth-Error: tenant_unknown"},
	)
}

// restart also makes sure that what was refreshed so far is on the disk: while new
// tokens are on their way into the store, however slow, the sidecar asks for no
// others.
func (d *demo) restart(ctx context.Context) error {
	d.title("The sidecar is stopped, its store is opened, and the sidecar is started again")
	if err := d.sidecar.stop(); err != nil {
		return err
	}
	var seen []event
	for _, tenant := range []string{"globex", "acme"} {
		stored, err := d.sidecar.get(ctx, tenant)
		if err != nil {
			return err
		}
		seen = append(seen, event{"store holds", d.auth.label(stored.AccessToken), d.auth.label(stored.RefreshToken)})
	}
	if err := d.check(seen,
		event{"store holds", "globex-access-2-...", "globex-refresh-2-..."},
		event{"store holds", "acme-access-2-...", "acme-refresh-2-..."},
	); err != nil {
		return err
	}
	if err := d.sidecar.start(); err != nil {
		return err
	}
	return d.exchange(ctx, http.MethodGet, "acme", nil,
		event{"app sent", "GET, X-Tenant-ID: acme", "no token"},
		event{"API saw", "GET with acme-access-2-...", "200"},
		event{"app got", "200 OK", "answered for acme"},
	)
}

func (d *demo) manyAtOnce(ctx context.Context) error {
	d.title(fmt.Sprintf("%d requests at once for globex, expired again: the refresh token is spent once", crowd))
	d.auth.expire("globex")
	d.api.gather(crowd)
	type answer struct {
		got event
		err error
	}
	answers := make(chan answer, crowd)
	for range crowd {
		go func() {
			_, got, err := d.app.request(ctx, http.MethodGet, "globex", nil)
			answers <- answer{got, err}
		}()
	}
	var got []event
	var err error
	for range crowd {
		a := <-answers
		got, err = append(got, a.got), errors.Join(err, a.err)
	}
	seen := slices.Concat(tally(d.events.take()), tally(got))
	if err != nil {
		return err
	}
	return d.check(seen,
		event{"API saw", "GET with globex-access-2-...", fmt.Sprintf("401, %d times", crowd)},
		event{"token endpoint", "globex-refresh-2-... spent", "globex-refresh-3-... issued"},
		event{"API saw", "GET with globex-access-3-...", fmt.Sprintf("200, %d times", crowd)},
		event{"app got", "200 OK", fmt.Sprintf("answered for globex, %d times", crowd)},
	)
}

// tally joins events that are the same, in the order of the first of each.
func tally(list []event) (joined []event) {
	count := make(map[event]int)
	for _, e := range list {
		if count[e]++; count[e] == 1 {
			joined = append(joined, e)
		}
	}
	for i, e := range joined {
		if count[e] > 1 {
			joined[i].outcome += fmt.Sprintf(", %d times", count[e])
		}
	}
	return joined
}

// exchange makes one request and checks what everybody saw.
func (d *demo) exchange(ctx context.Context, method, tenant string, body []byte, want ...event) error {
	sent, got, err := d.app.request(ctx, method, tenant, body)
	if err != nil {
		return err
	}
	return d.check(slices.Concat([]event{sent}, d.events.take(), []event{got}), want...)
}

// check prints what was seen and holds it against what was to be seen.
func (d *demo) check(seen []event, want ...event) error {
	for _, e := range seen {
		d.line(e)
	}
	if slices.Equal(seen, want) {
		return nil
	}
	d.say("\n   This is not as it should be:\n")
	for _, e := range want {
		d.line(e)
	}
	return errors.New("it did not go as it should")
}

func (d *demo) introduce() {
	d.say(`upstream_auth at work for two tenants, acme and globex. Of tokens only the beginning is shown.

     authorization server   http://%s   a refresh token is good for one use
     upstream API           http://%s   wants a current access token
     sidecar                %s   Caddy with upstream_auth
     its configuration      %s
`, d.authAddress, d.apiAddress, d.sidecar.url, d.sidecar.file)
}

func (d *demo) title(text string) { d.say("\n%d. %s\n", d.steps, text) }

func (d *demo) line(e event) {
	text := fmt.Sprintf("     %-16s%-32s%s", e.who, e.what, e.outcome)
	d.say("%s\n", strings.TrimRight(text, " "))
}

func (d *demo) say(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }

// invite prints what to try.
func (d *demo) invite() {
	d.say(`
All of it stays up until Ctrl-C, and goes on saying what the servers see. Try:

     curl -i -H 'X-Tenant-ID: acme' %[1]s/invoices
     curl -i -H 'X-Tenant-ID: acme' -d 'amount=42' %[1]s/invoices
     curl -X POST 'http://%[2]s/expire?tenant=acme'   # the next request gets a new token
     curl -X POST 'http://%[2]s/reuse?tenant=acme'    # a stolen refresh token: the next gets a 401

`, d.sidecar.url, d.authAddress)
}
