package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// signatureScheme sends the access token and the hash of the body.
func signatureScheme(name string) scheme.Scheme {
	return &schemeFunc{
		names: scheme.Names{Header: []string{name}},
		bind: func(token string) scheme.Authenticator {
			return authenticatorFunc(func(req *http.Request, body scheme.Body) error {
				h := sha256.New()
				if err := body.Hash(h); err != nil {
					return fmt.Errorf("signing: %w", err)
				}
				req.Header.Set(name, token+" "+hex.EncodeToString(h.Sum(nil)))
				return nil
			})
		},
	}
}

func signature(token, body string) string {
	sum := sha256.Sum256([]byte(body))
	return token + " " + hex.EncodeToString(sum[:])
}

// onlySigned is an upstream that takes requests signed with the new token alone.
func onlySigned(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Header.Get("X-Signature") != signature("new", string(body)) {
		http.Error(w, "refused", http.StatusUnauthorized)
		return
	}
	_, _ = w.Write(body)
}

func TestSignedBodyIsTheOneThatIsSent(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, onlySigned)
		for _, size := range []int{0, 1, 4096, 64<<10 + 1, 300_000, 1 << 20} {
			for _, sized := range []bool{true, false} {
				t.Run(fmt.Sprintf("%d bytes, sized %v", size, sized), func(t *testing.T) {
					body := string(bodytest.RandomBytes(size))
					x, c := newExchange(t, signatureScheme("X-Signature"))
					var source io.Reader = strings.NewReader(body)
					if !sized {
						source = unsized{source}
					}
					expectAnswer(t, u.roundTrip(t, newRequest(t, x, "POST", u.URL, source)), 200, body)
					c.expect(t, 1, 0, 1)
				})
			}
		}
	})
}

func TestNoBodyIsSignedAsAnEmptyOne(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		x, _ := newExchange(t, signatureScheme("X-Signature"))
		req := newRequest(t, x, "GET", "http://upstream.example/", nil)
		req.Body = body
		if got := sent(t, x, req).Header.Get("X-Signature"); got != signature("old", "") {
			t.Errorf("signed %s", got)
		}
	}
}

func TestSeveralSchemesSignTheSameBody(t *testing.T) {
	x, _ := newExchange(t, signatureScheme("X-Signature"), signatureScheme("X-Second"))
	body := string(bodytest.RandomBytes(100_000))
	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		for _, name := range []string{"X-Signature", "X-Second"} {
			if got.Header.Get(name) != signature("old", body) {
				t.Errorf("%s: %s", name, got.Header.Get(name))
			}
		}
		bodytest.MustRead(t, got.Body, []byte(body))
		return answer(200), nil
	})}
	if _, err := transport.RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", unsized{strings.NewReader(body)})); err != nil {
		t.Fatal(err)
	}
}

func TestBodyTooLongToBeSignedIsRefused(t *testing.T) {
	for _, size := range []int{5, 300_000} {
		for _, sized := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, sized %v", size, sized), func(t *testing.T) {
				x, c := newExchange(t, signatureScheme("X-Signature"))
				x.Limits.MaxBody = int64(size) - 1
				source := strings.NewReader(string(bodytest.RandomBytes(size)))
				req := newRequest(t, x, "POST", "http://upstream.example/", source)
				if !sized {
					req.ContentLength = -1
				}
				base := &script{}
				res, err := (&Transport{Base: base}).RoundTrip(req)
				if err != nil || res.StatusCode != 413 || res.Header.Get(HeaderError) != "body_too_large" || res.Request != req || res.Body == nil {
					t.Fatal(res, err)
				}
				if len(base.tokens) > 0 {
					t.Error("it was sent")
				}
				if sized && source.Len() != size {
					t.Error("the client was made to send it in vain")
				}
				c.expect(t, 0, 0, 0)
			})
		}
	}
}

// Who has spent its own budget for recordings is told so, and not that others have.
func TestBodyOverABudgetIsNotSigned(t *testing.T) {
	const size = 300_000
	full := t.TempDir()
	one := func(k budget.Kind) (a budget.Amounts) {
		a[k] = size - 1
		return a
	}
	for name, test := range map[string]struct {
		budgets budget.Limits
		limits  body.Limits
		status  int
	}{
		"the tenant's own on disk":   {budget.Limits{Tenant: one(budget.Disk)}, body.Limits{Dir: t.TempDir()}, 429},
		"the tenant's own in memory": {budget.Limits{Tenant: one(budget.Memory)}, body.Limits{}, 429},
		"the provider's on disk":     {budget.Limits{Provider: one(budget.Disk)}, body.Limits{Dir: t.TempDir()}, 503},
		"all tenants' on disk":       {budget.Limits{Total: one(budget.Disk)}, body.Limits{Dir: t.TempDir()}, 503},
		"all tenants' in memory":     {budget.Limits{Total: one(budget.Memory)}, body.Limits{}, 503},
		"the disk":                   {budget.Limits{}, body.Limits{Dir: full, Room: body.NewRoom(full, full, math.MaxInt64/2)}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			x, c := newExchange(t, signatureScheme("X-Signature"))
			account, err := new(budget.Usage).Provider("crm", test.budgets).Take("acme", budget.Requests)
			if err != nil {
				t.Fatal(err)
			}
			x.Account, x.Limits = account, test.limits
			x.Limits.MaxBody = 1 << 20
			base := &script{}
			res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", strings.NewReader(string(bodytest.RandomBytes(size)))))
			if err != nil || res.StatusCode != test.status || res.Header.Get(HeaderError) != "too_many_requests" || res.Header.Get("Retry-After") == "" {
				t.Fatal(res, err)
			}
			if len(base.tokens) > 0 {
				t.Error("it was sent")
			}
			c.expect(t, 0, 0, 0)
		})
	}
}

func TestBodyThatCannotBeRecordedIsNotCalledTooLong(t *testing.T) {
	x, _ := newExchange(t, signatureScheme("X-Signature"))
	noDirectory := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(noDirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x.Limits = body.Limits{MaxBody: 1 << 20, Dir: noDirectory}
	base := &script{}
	res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", strings.NewReader("body")))
	if err != nil || res.StatusCode != 502 || len(base.tokens) > 0 {
		t.Fatal(res, err)
	}
}

func TestClientThatBreaksOffWhileItsBodyIsSigned(t *testing.T) {
	t.Run("connection broken", func(t *testing.T) {
		for _, size := range []int{0, 10, 300_000} {
			x, c := newExchange(t, signatureScheme("X-Signature"))
			body := io.MultiReader(strings.NewReader(string(bodytest.RandomBytes(size))), bodytest.ReaderFunc(func([]byte) (int, error) { return 0, errBroken }))
			base := &script{}
			res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", body))
			if res != nil || err != errBroken || len(base.tokens) > 0 {
				t.Fatal(res, err)
			}
			c.expect(t, 0, 0, 0)
		}
	})
	t.Run("limit of the server", func(t *testing.T) {
		x, _ := newExchange(t, signatureScheme("X-Signature"))
		body := http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("0123456789")), 5)
		_, err := (&Transport{Base: &script{}}).RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", body))
		var tooLarge *http.MaxBytesError
		if !errors.As(err, &tooLarge) {
			t.Fatal(err)
		}
	})
}

func TestRetryOfASignedRequestSendsAll(t *testing.T) {
	x, c := newExchange(t, signatureScheme("X-Signature"))
	body := string(bodytest.RandomBytes(200_000))
	var attempts atomic.Int32
	base := roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		token := "old"
		if attempts.Add(1) > 2 {
			token = "new"
		}
		if req.Header.Get("X-Signature") != signature(token, body) {
			t.Errorf("attempt %d has another signature", attempts.Load())
		}
		if attempts.Load() == 1 {
			_, err := io.ReadFull(req.Body, make([]byte, 1000))
			return nil, errors.Join(errBroken, err)
		}
		bodytest.MustRead(t, req.Body, []byte(body))
		if attempts.Load() == 2 {
			return answer(401), nil
		}
		return answer(200), nil
	})
	res, err := retry(t, base, newRequest(t, x, "POST", "http://upstream.example/", unsized{strings.NewReader(body)}))
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	c.expect(t, 1, 0, 1)
}
