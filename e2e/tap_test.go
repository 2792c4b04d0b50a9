package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/canary"
)

// tap stands between Caddy and Vault. It learns the tokens that Caddy obtains,
// and can cut the line.
type tap struct {
	*httptest.Server
	cut atomic.Bool // requests get no answer, as with no route to Vault

	mu      sync.Mutex
	refused []string // the requests that Vault answered with 403
}

func newTap(vaultURL string, secrets *canary.Collector) *tap {
	target, _ := url.Parse(vaultURL)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {
		panic(http.ErrAbortHandler) // a dead Vault answers nothing, not 502
	}
	t := new(tap)
	proxy.ModifyResponse = func(res *http.Response) error {
		if res.StatusCode == http.StatusForbidden {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.refused = append(t.refused, res.Request.Method+" "+res.Request.URL.Path)
		}
		return learn(res, secrets)
	}
	t.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t.cut.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Start()
	return t
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
