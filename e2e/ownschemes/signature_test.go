package ownschemes

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// signedUpstream keeps what it saw.
type signedUpstream struct {
	mu   sync.Mutex
	seen []seen
}

type seen struct {
	method, uri, body string
	length            int64 // -1: chunked
	header, trailer   http.Header
}

func (u *signedUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // a body that breaks off was not signed, and is not accepted
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, seen{r.Method, r.RequestURI, string(body), r.ContentLength, r.Header, r.Trailer})
	w.WriteHeader(http.StatusOK)
}

// take returns what it saw since the last call.
func (u *signedUpstream) take() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer func() { u.seen = nil }()
	return u.seen
}

// signature is what the upstream's documentation says.
func (got seen) signature(key string) string {
	digest := sha256.Sum256([]byte(got.body))
	mac := hmac.New(sha256.New, []byte(key))
	io.WriteString(mac, got.method+"\n"+got.uri+"\n"+hex.EncodeToString(digest[:]))
	return hex.EncodeToString(mac.Sum(nil))
}

// chunked is a body whose length the client does not tell.
func chunked(body string) io.Reader { return struct{ io.Reader }{strings.NewReader(body)} }

func TestUpstreamSeesTheSignatureOfWhatItGets(t *testing.T) {
	s, u := newSidecar(t), new(signedUpstream)
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	s.start(s.localStore()+`
provider billing {
	header X-Account {credential.account}
	api_key
	signature key
}`, "upstream_auth billing "+server.URL+" {\nreplay_max_body 1KiB\n}")

	keys := map[string]string{"acme": "k3y-of-acme-5c1d", "globex": "k3y-of-globex-77ab"}
	for tenant, key := range keys {
		s.secrets.Add("a key", key)
		s.secrets.Add("an API key", "api-"+key)
		s.check(s.put("billing", tenant, fmt.Sprintf(`{"account":"account of %s","api_key":"api-%s","key":"%s"}`, tenant, key, key)))
	}
	if err := s.put("billing", "keyless", `{"account":"a","api_key":"k"}`); err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("a credential without a key is stored: %v", err)
	}

	// What clients send under the names of schemes, in spellings that some server takes for them.
	forged := http.Header{
		"x-signature": {"forged"}, "X_Signature": {"forged"}, "x.signature": {"forged"}, "X-SIGNATURE": {"forged", "forged"},
		"x_api~key": {"forged"}, "X_Account": {"forged"},
	}
	full, almost := strings.Repeat("x", 1024), strings.Repeat("é", 511)
	for name, c := range map[string]struct {
		method, path string
		body         io.Reader
		want         string
		length       int64
		trailer      bool
	}{
		"no body":                {method: http.MethodGet, path: "/invoices?page=2&q=%2F+a"},
		"with a length":          {http.MethodPost, "/invoices", strings.NewReader("invoice 1"), "invoice 1", 9, false},
		"chunked":                {http.MethodPost, "/invoices/%C3%A9", chunked("invoice 2"), "invoice 2", -1, false},
		"chunked with a trailer": {http.MethodPut, "/invoices", chunked("invoice 3"), "invoice 3", -1, true},
		"empty":                  {http.MethodPost, "/", strings.NewReader(""), "", 0, false},
		"all that may be":        {http.MethodPatch, "/", strings.NewReader(full), full, 1024, false},
		"almost, and chunked":    {http.MethodPatch, "/", chunked(almost), almost, -1, false},
	} {
		for tenant, key := range keys {
			header := forged.Clone()
			if c.trailer {
				header["Trailer"] = []string{"X-Signature"}
			}
			body := c.body
			if seeker, ok := body.(io.Seeker); ok {
				seeker.Seek(0, io.SeekStart)
			} else if body != nil {
				body = chunked(c.want)
			}
			if a := s.must(c.method, c.path, tenant, body, header); a.status != http.StatusOK {
				t.Errorf("%s, %s: got %d %q", name, tenant, a.status, a.header)
				continue
			}
			got := u.take()
			if len(got) != 1 || got[0].method != c.method || got[0].uri != c.path || got[0].body != c.want || got[0].length != c.length {
				t.Errorf("%s, %s: the upstream saw %+v", name, tenant, got)
				continue
			}
			for header, want := range map[string]string{
				"X-Signature": got[0].signature(key), "X-Api-Key": "api-" + key, "X-Account": "account of " + tenant,
			} {
				if values := named(got[0].header, header); !slices.Equal(values, []string{want}) {
					t.Errorf("%s, %s: the upstream saw %s: %q, want %q", name, tenant, header, values, want)
				}
			}
			if values := named(got[0].trailer, "X-Signature"); len(values) > 0 {
				t.Errorf("%s, %s: the upstream saw the trailer %q", name, tenant, values)
			}
		}
	}

	for name, body := range map[string]io.Reader{"with a length": strings.NewReader(full + "x"), "chunked": chunked(full + "x")} {
		a := s.must(http.MethodPost, "/invoices", "acme", body, nil)
		if a.status != http.StatusRequestEntityTooLarge || a.header.Get("Upstream-Auth-Error") != "body_too_large" {
			t.Errorf("too long, %s: got %d %q", name, a.status, a.header)
		}
		if got := u.take(); len(got) != 0 {
			t.Errorf("too long, %s: the upstream saw %+v", name, got)
		}
	}
}
