package world

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/canary"
)

// Tap stands between Caddy and Vault. It learns the tokens that Caddy obtains, can
// cut the line, can hold back one request, or its answer, and can disturb all.
type Tap struct {
	*httptest.Server
	Cut     atomic.Bool                                                   // requests get no answer, as with no route to Vault
	disturb atomic.Pointer[func(r *http.Request, body []byte) VaultFault] // nil: all are passed on

	mu      sync.Mutex
	refused []string // the requests that Vault answered with 403
	holds   []*Hold  // that have not met their request yet
}

// Hold is for one request of Caddy's to Vault.
type Hold struct {
	*Gate
	matches  func(r *http.Request, body []byte) bool
	answered bool // Vault has the request already; its answer is held back
}

// VaultFault is what the tap does to one request.
type VaultFault struct {
	Before time.Duration // it reaches Vault so much later
	After  time.Duration // its answer comes so much later than Vault's
	Status int           // it is answered with that, and Vault does not see it
	Cut    bool          // its answer ends too early, and Vault does not see it
	Done   func()        // if not nil, called when all is over
}

type holdKey struct{}

type delayKey struct{}

// OwnTap is the same world with a way to Vault that others do not share.
func (w *World) OwnTap() *World {
	own := *w
	own.Tap = newTap(w.Vault.Address, w.Secrets)
	own.Serve(own.Tap.Server)
	return &own
}

// Disturbing has all requests from now on treated by disturb, which must not block.
func (t *Tap) Disturbing(disturb func(r *http.Request, body []byte) VaultFault) {
	t.disturb.Store(&disturb)
}

// ReadsOf reports whether r reads a tenant's document, whatever its version.
func ReadsOf(r *http.Request, tenant string) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/v1/"+PathOf(tenant)
}

// IsCredential reports whether r is about a tenant's document, and not about a login or
// the journals' key.
func IsCredential(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1/"+PathOf("")) }

// Hold holds back the next request that matches: on its way to Vault or, with
// answered, the answer to it.
func (t *Tap) Hold(answered bool, matches func(r *http.Request, body []byte) bool) *Hold {
	h := &Hold{Gate: NewGate(), matches: matches, answered: answered}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holds = append(t.holds, h)
	return h
}

// held returns what r is to be held back by, nil if it is not.
func (t *Tap) held(r *http.Request, body []byte) *Hold {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, h := range t.holds {
		if h.matches(r, body) {
			t.holds = slices.Delete(t.holds, i, i+1)
			return h
		}
	}
	return nil
}

func newTap(vaultURL string, secrets *canary.Collector) *Tap {
	target, _ := url.Parse(vaultURL)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {
		panic(http.ErrAbortHandler) // a dead Vault answers nothing, not 502
	}
	t := new(Tap)
	proxy.ModifyResponse = func(res *http.Response) error {
		if res.StatusCode == http.StatusForbidden {
			t.noteRefusal(res.Request)
		}
		if h, ok := res.Request.Context().Value(holdKey{}).(*Hold); ok {
			h.Pass()
		}
		if delay, ok := res.Request.Context().Value(delayKey{}).(time.Duration); ok {
			Pause(res.Request.Context(), delay)
		}
		return learn(res, secrets)
	}
	t.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t.Cut.Load() {
			panic(http.ErrAbortHandler)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if disturb := t.disturb.Load(); disturb != nil {
			fault := (*disturb)(r, body)
			if fault.Done != nil {
				defer fault.Done()
			}
			Pause(r.Context(), fault.Before)
			switch {
			case fault.Cut:
				// Go's client would send a request again that got no answer at all.
				w.Header().Set("Content-Length", "1000")
				_, _ = io.WriteString(w, `{"data":`)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case fault.Status != 0:
				w.WriteHeader(fault.Status)
				return
			case fault.After > 0:
				r = r.WithContext(context.WithValue(r.Context(), delayKey{}, fault.After))
			}
		}
		if h := t.held(r, body); h != nil && h.answered {
			r = r.WithContext(context.WithValue(r.Context(), holdKey{}, h))
		} else if h != nil {
			h.Pass()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Start()
	return t
}

// Refusals are the requests that Vault answered with 403.
func (t *Tap) Refusals() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.refused)
}

func (t *Tap) noteRefusal(r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = append(t.refused, r.Method+" "+r.URL.Path)
}

// learn notes the token in the answer to a login.
func learn(res *http.Response, secrets *canary.Collector) error {
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	if json.Unmarshal(body, &answer) == nil && answer.Auth.Token != "" {
		secrets.Add("a vault token", answer.Auth.Token)
	}
	return nil
}

// Pause returns after a while, or when ctx is done.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
