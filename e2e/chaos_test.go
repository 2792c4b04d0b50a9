package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

const (
	chaosTenants  = 20
	chaosDuration = 45 * time.Second
	chaosTakeover = 15 * time.Second
)

// Vault is sealed, killed and started again, sidecars are killed, suspended and
// started again, and the authorization server is slow, says that it is busy, fails
// before it has rotated, and after. All at random, under load, with tokens that are
// rotated all the time. No refresh token is presented again while somebody has the
// answer or may get it, no request reaches the upstream twice, and what only the
// faults kept from being served is served soon after they end.
//
// E2E_SEED repeats the choices of a run, though not their timing.
func TestFaultsAtRandom(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("E2E_SEED=%d", seed)
	c := &chaos{
		fleet:  newFleet(t, configuration{quiet: true, store: promptVault, oauth2: "takeover " + chaosTakeover.String()}),
		random: rand.New(rand.NewPCG(seed, 0)),
		faults: make(map[string]int), answers: make(map[string]int), authorized: make(map[string]time.Time),
	}
	for i := range chaosTenants {
		tenant := fmt.Sprintf("tenant-%02d", i)
		c.tenants = append(c.tenants, tenant)
		c.seed(tenant)
		c.authorized[tenant] = time.Now()
	}

	c.auth.Play(c.misbehave(rand.New(rand.NewPCG(seed, 1))))
	ctx, stop := context.WithCancel(c.ctx)
	defer stop()
	var load sync.WaitGroup
	for i := range 12 {
		load.Go(func() { c.use(ctx, rand.New(rand.NewPCG(seed, uint64(i+10)))) })
	}
	load.Go(func() { c.expireAtRandom(ctx, rand.New(rand.NewPCG(seed, 2))) })
	load.Go(func() { c.reauthorizeAll(ctx) })
	for end := time.Now().Add(chaosDuration); time.Now().Before(end); {
		c.disturb()
	}
	for _, w := range c.replicas() {
		select {
		case <-w.caddy.Exited():
			t.Fatal("a sidecar has ended that nobody killed")
		default:
		}
	}
	c.auth.Play(nil)
	calm := time.Now()
	stop()
	load.Wait()

	c.servedWithin(10 * time.Second)
	recovered := time.Since(calm)
	for _, tenant := range c.tenants {
		c.soon(chaosTakeover, func() error {
			record, err := c.record(tenant)
			if status := record["status"]; status == "spending" || status == "reauthorization_required" && !c.lost(tenant) {
				err = fmt.Errorf("%s: status %s", tenant, status)
			}
			return err
		})
	}
	doubleSpends, repeated := audit(c.auth.Ledger(), c.crashes)
	for _, d := range doubleSpends {
		t.Errorf("a refresh token was presented again while somebody had the answer, or could get it: %+v, then %+v; crashes %v", d.first, d.second, c.crashes)
	}
	c.eachOnce()
	c.report(recovered, len(doubleSpends), repeated)
}

// chaos is a fleet in trouble.
type chaos struct {
	*fleet
	tenants []string
	random  *rand.Rand // of the one who disturbs
	faults  map[string]int

	mu         sync.Mutex
	crashes    []crash
	answers    map[string]int       // by status and code
	authorized map[string]time.Time // before a person last brought tokens
	denied     []string             // tenants that wait for a person
	brought    int                  // times that a person did
}

// misbehave is the authorization server's script. No tenant has bad luck more than
// twice in a row: rests double.
func (c *chaos) misbehave(random *rand.Rand) authserver.Script {
	unlucky := make(map[string]int)
	return func(e authserver.Entry) (b authserver.Behaviour) {
		delay := time.Duration(0)
		if random.IntN(3) == 0 {
			delay = time.Duration(random.IntN(800)) * time.Millisecond
		}
		b.Before = func() { pause(c.ctx, delay) }
		if unlucky[e.Tenant]++; unlucky[e.Tenant] > 2 {
			unlucky[e.Tenant] = 0
			return b
		}
		switch dice := random.IntN(100); {
		case dice < 3:
			b.After = authserver.Drop
		case dice < 6:
			b.After = authserver.Error500
		case dice < 11:
			b.Instead = authserver.Unavailable("1")
		case dice < 13:
			b.Instead = authserver.HangUp
		case dice < 15:
			b.Instead = func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "internal error", http.StatusInternalServerError)
			}
		default:
			unlucky[e.Tenant] = 0
		}
		return b
	}
}

// disturb does one thing to Vault or to a sidecar, or to both at once, for a short
// time, and leaves all as it should be.
func (c *chaos) disturb() {
	c.Helper()
	c.pause(300, 1500)
	fault := []string{"vault sealed", "vault killed", "sidecar killed", "sidecar suspended", "vault sealed, sidecar killed"}[c.random.IntN(5)]
	c.faults[fault]++
	i := c.random.IntN(3)
	w, sender := c.replicas()[i], string("abc"[i])
	if strings.Contains(fault, "vault sealed") {
		c.vault.Seal()
		defer c.vault.Unseal()
		c.pause(600, 1500) // so that answers come that cannot be committed, and are on disk
	}
	switch {
	case fault == "vault killed":
		c.vault.Kill()
		c.pause(0, 1000)
		c.vault.Restart()
	case strings.Contains(fault, "sidecar killed"):
		c.mu.Lock()
		c.crashes = append(c.crashes, crash{sender, time.Now()})
		c.mu.Unlock()
		w.kill()
		c.pause(0, 1500)
		w.restart()
	case fault == "sidecar suspended":
		c.check(w.caddy.Suspend())
		c.pause(300, 2000)
		w.resume()
	}
}

// pause waits for a random time between two numbers of milliseconds.
func (c *chaos) pause(from, to int) {
	pause(c.ctx, time.Duration(from+c.random.IntN(to-from))*time.Millisecond)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// use sends requests of all tenants to all sidecars.
func (c *chaos) use(ctx context.Context, random *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		tenant, w := c.tenants[random.IntN(len(c.tenants))], c.replicas()[random.IntN(3)]
		r := request{tenant: tenant, id: fmt.Sprintf("%s request %d %x", tenant, n, random.Uint32()), body: randomBytes(random.IntN(20 * kib))}
		res, err := w.send(ctx, r)
		if ctx.Err() != nil {
			return
		}
		answer := "none"
		if err == nil {
			answer = strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", res.Header.Get("Upstream-Auth-Error")))
		}
		switch answer {
		case "200":
			if err := w.delivered(r, res); err != nil {
				w.Error(err)
			}
		case "none", "401", "401 refresh_failed", "503 store_unavailable":
		case "401 reauthorization_required":
			c.deny(tenant)
		default:
			w.Errorf("%s: answer %s %q", r.id, answer, res.body)
		}
		c.mu.Lock()
		c.answers[answer]++
		c.mu.Unlock()
		pause(ctx, time.Duration(random.IntN(40))*time.Millisecond)
	}
}

func (c *chaos) expireAtRandom(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		if err := c.auth.Expire(c.tenants[random.IntN(len(c.tenants))]); err != nil {
			c.Error(err)
		}
		pause(ctx, 80*time.Millisecond)
	}
}

// deny notes that a tenant waits for a person.
func (c *chaos) deny(tenant string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.denied, tenant) {
		c.denied = append(c.denied, tenant)
	}
}

// reauthorizeAll is the person who brings new tokens to those who need them.
func (c *chaos) reauthorizeAll(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, 500*time.Millisecond)
		c.mu.Lock()
		denied := c.denied
		c.denied = nil
		c.mu.Unlock()
		for _, tenant := range denied {
			record, err := c.record(tenant)
			if err == nil && record["status"] != "reauthorization_required" {
				continue // that was an answer from before
			}
			if err == nil && !c.lost(tenant) {
				c.Errorf("%s is sent to a person, though nobody lost its tokens: %+v", tenant, c.auth.Of(tenant))
			}
			if err == nil {
				err = c.reauthorize(tenant)
			}
			if err != nil {
				c.deny(tenant) // Vault is not there now
			}
		}
	}
}

func (c *chaos) reauthorize(tenant string) error {
	begun := time.Now() // the tokens may be used, and lost, before we know that they are in
	tokens, err := c.auth.Seed(tenant)
	if err != nil {
		return err
	}
	_, err = c.vault.root.Logical().WriteWithContext(c.ctx, pathOf(tenant), map[string]any{"data": documentOf(tenant, tokens)})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.authorized[tenant] = begun
	c.brought++
	return nil
}

// lost reports whether the tenant's newest tokens may be lost, by what this test
// did.
func (c *chaos) lost(tenant string) bool {
	c.mu.Lock()
	since, crashes := c.authorized[tenant], slices.Clone(c.crashes)
	c.mu.Unlock()
	return slices.ContainsFunc(c.auth.Of(tenant), func(e authserver.Entry) bool {
		return e.At.After(since) && loses(repeatable(e, time.Now(), crashes))
	})
}

// servedWithin checks that all tenants are served within a limit, but those whose
// newest tokens may be lost: they may as well be sent to a person.
func (c *chaos) servedWithin(limit time.Duration) {
	c.Helper()
	for begun := time.Now(); ; {
		failed := make([]error, len(c.tenants))
		var all sync.WaitGroup
		for i, tenant := range c.tenants {
			w := c.replicas()[i%3]
			all.Go(func() {
				r := request{tenant: tenant, id: fmt.Sprint(tenant, " when all is calm ", time.Now())}
				res, err := w.send(w.ctx, r)
				if err == nil {
					err = w.delivered(r, res)
				}
				if err != nil && c.lost(tenant) {
					err = w.reauthorization(tenant)
				}
				failed[i] = err
			})
		}
		all.Wait()
		err := errors.Join(failed...)
		if err == nil {
			return
		}
		if time.Since(begun) > limit {
			c.Errorf("not within %v: %v", limit, err)
			return
		}
		pause(c.ctx, 50*time.Millisecond)
	}
}

// eachOnce checks that no request was accepted by the upstream twice, or in
// another's name.
func (c *chaos) eachOnce() {
	c.Helper()
	accepted := make(map[string]int)
	for _, a := range c.api.All() {
		if a.Number > 2 {
			c.Errorf("%s: attempt %d", a.ID, a.Number)
		}
		if !a.Accepted {
			continue
		}
		if accepted[a.ID]++; accepted[a.ID] > 1 {
			c.Errorf("%s: accepted %d times", a.ID, accepted[a.ID])
		}
		if !strings.HasPrefix(a.ID, a.Tenant+" ") {
			c.Errorf("%s: in the name of %s", a.ID, a.Tenant)
		}
	}
}

// report prints what has happened as one table.
func (c *chaos) report(recovered time.Duration, doubleSpends int, repeated map[string]int) {
	outcomes := make(map[string]int)
	for _, e := range c.auth.Ledger() {
		outcomes[string(e.Outcome)]++
	}
	var b strings.Builder
	row := func(name string, value any) { fmt.Fprintf(&b, "| %s | %v |\n", name, value) }
	section := func(name string, counts map[string]int) {
		for _, key := range slices.Sorted(maps.Keys(counts)) {
			row(name+": "+key, counts[key])
		}
	}
	row("tenants, replicas, seconds of faults", fmt.Sprintf("%d, 3, %.0f", len(c.tenants), chaosDuration.Seconds()))
	section("fault", c.faults)
	section("answer to the app", c.answers)
	row("token requests", len(c.auth.Ledger()))
	section("token request", outcomes)
	row("refresh tokens presented again while somebody had the answer, or could get it", doubleSpends)
	section("presented again since", repeated)
	row("authorized anew by a person", c.brought)
	row("all served after the last fault", recovered.Round(100*time.Millisecond))
	c.Logf("\n%s", b.String())
}
