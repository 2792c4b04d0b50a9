package refresh

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// tokenServer is a real token endpoint that counts.
type tokenServer struct {
	*httptest.Server
	mu          sync.Mutex
	connections int
	requests    []*http.Request
	bodies      []string
}

func newTokenServer(t *testing.T, handler http.HandlerFunc) *tokenServer {
	t.Helper()
	s := &tokenServer{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
		s.mu.Unlock()
		handler(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.connections++
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) counts() (connections, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections, len(s.requests)
}

// wire is a coordinator that talks to a real token endpoint.
type wire struct {
	*Coordinator
	store    *storetest.Memory
	provider *Provider
	cred     *credential.Credential
}

func newWire(t *testing.T, tokenURL string, change func(*scheme.OAuth2)) *wire {
	t.Helper()
	w := &wire{store: storetest.NewMemory()}
	data := []byte(`{"access_token":"canary-a1","refresh_token":"canary-r1","expires_at":"2020-01-01T00:00:00Z","client":"id of acme"}`)
	if _, err := w.store.Put(t.Context(), key, data, 0); err != nil {
		t.Fatal(err)
	}
	w.cred = parse(t, credential.Document{Data: data, Version: 1})
	o := &scheme.OAuth2{TokenURL: tokenURL, ClientID: text(t, "client"), ClientSecret: text(t, clientSecret)}
	if change != nil {
		change(o)
	}
	s, err := scheme.New(scheme.Options{OAuth2: o})
	if err != nil {
		t.Fatal(err)
	}
	w.provider = &Provider{Name: key.Provider, Scheme: s}
	w.Coordinator = New(credential.NewCache(w.store, credential.CacheOptions{}), Options{})
	return w
}

func (w *wire) refresh(t *testing.T) (*credential.Credential, error) {
	t.Helper()
	fresh, err := w.Refresh(t.Context(), w.provider, tenant, w.cred)
	if waitErr := w.Wait(t.Context()); waitErr != nil {
		t.Fatal(waitErr)
	}
	return fresh, err
}

func (w *wire) stored(t *testing.T) *credential.Credential {
	t.Helper()
	doc, err := w.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, doc)
}

func respond(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		io.WriteString(w, body)
	}
}

const granted = `{"access_token":"canary-a2","refresh_token":"canary-r2","token_type":"bearer","expires_in":3600}`

func TestTokenRequestOnTheWire(t *testing.T) {
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
	}
	for name, test := range map[string]struct {
		change        func(*scheme.OAuth2)
		authorization string
		form          url.Values
	}{
		"basic": {nil, basic("client", clientSecret), url.Values{}},
		"basic is form-encoded": {
			func(o *scheme.OAuth2) {
				o.ClientID, o.ClientSecret = text(t, "{credential.client}:é"), text(t, "p+w %&=:")
			},
			basic("id of acme:é", "p+w %&=:"), url.Values{},
		},
		"secret from a file": {
			func(o *scheme.OAuth2) { o.ClientSecret, o.ClientSecretFile = nil, secretFile },
			basic("client", "from a file"), url.Values{},
		},
		"post": {
			func(o *scheme.OAuth2) { o.ClientAuth = scheme.ClientAuthPost },
			"", url.Values{"client_id": {"client"}, "client_secret": {clientSecret}},
		},
		"none": {
			func(o *scheme.OAuth2) { o.ClientAuth, o.ClientSecret = scheme.ClientAuthNone, nil },
			"", url.Values{"client_id": {"client"}},
		},
		"scopes and parameters": {
			func(o *scheme.OAuth2) {
				o.Scopes, o.Params = []string{"read", "write:all"}, map[string]string{"audience": "https://api.example/?a=b&c", "empty": ""}
			},
			basic("client", clientSecret),
			url.Values{"scope": {"read write:all"}, "audience": {"https://api.example/?a=b&c"}, "empty": {""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTokenServer(t, respond("application/json", granted))
			w := newWire(t, s.URL+"/token?tenant=x", test.change)
			fresh, err := w.refresh(t)
			wantToken(t, fresh, err, "canary-a2")

			if connections, requests := s.counts(); connections != 1 || requests != 1 {
				t.Fatalf("%d requests on %d connections", requests, connections)
			}
			r := s.requests[0]
			form, err := url.ParseQuery(s.bodies[0])
			if err != nil {
				t.Fatal(err)
			}
			test.form.Set("grant_type", "refresh_token")
			test.form.Set("refresh_token", "canary-r1")
			if fmt.Sprint(form) != fmt.Sprint(test.form) {
				t.Errorf("form %v, want %v", form, test.form)
			}
			if got := r.Header.Get("Authorization"); got != test.authorization {
				t.Errorf("authorization %q, want %q", got, test.authorization)
			}
			if r.Method != "POST" || r.Proto != "HTTP/1.1" || !r.Close || r.URL.RawQuery != "tenant=x" ||
				r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Get("Accept") != "application/json" {
				t.Errorf("request %s %s %s %v", r.Method, r.URL, r.Proto, r.Header)
			}
		})
	}
}

func TestEachTokenRequestHasItsOwnConnection(t *testing.T) {
	n := 1
	s := newTokenServer(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprintf(w, `{"access_token":"a%d"}`, n)
	})
	w := newWire(t, s.URL, nil)
	for range 5 {
		fresh, err := w.refresh(t)
		if err != nil {
			t.Fatal(err)
		}
		w.cred = fresh
	}
	if connections, requests := s.counts(); connections != 5 || requests != 5 {
		t.Errorf("%d requests on %d connections", requests, connections)
	}
}

func TestAnswersOnTheWire(t *testing.T) {
	const in3600 = "expires_in 3600"
	padding := strings.Repeat(" ", maxAnswer)
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		refresh string // the refresh token that is stored then
		expires bool
	}{
		"JSON":                 {respond("application/json;charset=UTF-8", granted), "canary-r2", true},
		"JSON as text":         {respond("text/plain", granted), "canary-r2", true},
		"JSON as a page":       {respond("text/html", "\xef\xbb\xbf\n"+granted+"\n"), "canary-r2", true},
		"JSON as a form":       {respond("application/x-www-form-urlencoded", granted), "canary-r2", true},
		"status 201":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); io.WriteString(w, granted) }, "canary-r2", true},
		"no refresh token":     {respond("application/json", `{"access_token":"canary-a2"}`), "canary-r1", false},
		"fractional lifetime":  {respond("application/json", `{"access_token":"canary-a2","refresh_token":"canary-r2","expires_in":3599.5}`), "canary-r2", true},
		"lifetime as a string": {respond("application/json", `{"access_token":"canary-a2","refresh_token":"canary-r2","expires_in":"3600"}`), "canary-r2", true},
		"empty lifetime":       {respond("application/json", `{"access_token":"canary-a2","refresh_token":"canary-r2","expires_in":""}`), "canary-r2", false},
		"odd token type":       {respond("application/json", `{"access_token":"canary-a2","refresh_token":"canary-r2","token_type":7,"error":""}`), "canary-r2", false},
		"form":                 {respond("application/x-www-form-urlencoded", "access_token=canary-a2&refresh_token=canary-r2&expires_in=3600&scope="), "canary-r2", true},
		"form as text":         {respond("text/plain; charset=utf-8", "access_token=canary-a2&refresh_token=canary-r2&expires_in=3600"), "canary-r2", true},
		"garbage behind it":    {respond("application/json", granted+"<!-- served by x -->"), "canary-r2", true},
		"deep JSON behind it":  {respond("application/json", granted[:len(granted)-1]+`,"x":`+strings.Repeat("[", 100000)), "canary-r2", true},
		"too large behind it":  {respond("application/json", granted[:len(granted)-1]+`,"x":1`+padding+`}`), "canary-r2", true},
		"cut off behind it": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, granted[:len(granted)-1]+`,"x":12`)
		}, "canary-r2", true},
		"cut off in a number": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"access_token":"canary-a2","refresh_token":"canary-r2","expires_in":36`)
		}, "canary-r2", false},
		"form cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `access_token=canary-a2&refresh_token=canary-r2&expires_in=36`)
		}, "canary-r2", false},
		"gzip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			g := gzip.NewWriter(w)
			io.WriteString(g, granted)
			g.Close()
		}, "canary-r2", true},
		"gzip bomb behind it": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			g := gzip.NewWriter(w)
			io.WriteString(g, granted[:len(granted)-1]+`,"x":"`)
			for range 256 { // 256 MiB
				if _, err := g.Write(bytes.Repeat([]byte("a"), 1<<20)); err != nil {
					return
				}
			}
			g.Close()
		}, "canary-r2", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTokenServer(t, test.handler)
			w := newWire(t, s.URL, nil)
			fresh, err := w.refresh(t)
			wantToken(t, fresh, err, "canary-a2")
			stored := w.stored(t)
			wantToken(t, stored, nil, "canary-a2")
			if got := stored.Get("refresh_token").Str; got != test.refresh {
				t.Errorf("refresh token %s, want %s", got, test.refresh)
			}
			at, ok, err := w.provider.Scheme.OAuth2().ExpiresAt(stored)
			if left := time.Until(at); err != nil || ok != test.expires || ok && (left < 59*time.Minute || left > time.Hour) {
				t.Errorf("expires at %v, %v, %v; want %s: %v", at, ok, err, in3600, test.expires)
			}
			if stored.Get("client").Str != "id of acme" {
				t.Errorf("other fields are gone: %s", stored.JSON())
			}
			if connections, requests := s.counts(); connections != 1 || requests != 1 {
				t.Errorf("%d requests on %d connections", requests, connections)
			}
		})
	}
}

func TestAnswersWithoutATokenOnTheWire(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"redirect with the method kept": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"reset": func(w http.ResponseWriter, _ *http.Request) {
			connection, _, _ := w.(http.Hijacker).Hijack()
			connection.(*net.TCPConn).SetLinger(0)
			connection.Close()
		},
		"closed": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"not HTTP": func(w http.ResponseWriter, _ *http.Request) {
			connection, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(connection, "canary-a2 canary-r2\r\n\r\n")
			connection.Close()
		},
		"408": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestTimeout) },
		"421": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMisdirectedRequest) },
		"401 with a challenge": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
		},
		"cut off in the tokens": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"access_token":"canary-a`)
		},
		"tokens with a 400": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400); io.WriteString(w, granted) },
		"nothing but a bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			g := gzip.NewWriter(w)
			g.Write(bytes.Repeat([]byte("["), 8<<20))
			g.Close()
		},
		"broken gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, granted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTokenServer(t, handler)
			w := newWire(t, s.URL, nil)
			fresh, err := w.refresh(t)
			wantError(t, fresh, err, ErrFailed)
			wantDocument(t, w.stored(t), string(w.cred.Stored()))
			if connections, requests := s.counts(); connections != 1 || requests != 1 {
				t.Errorf("%d requests on %d connections", requests, connections)
			}
		})
	}
}

func TestEndpointThatCannotBeReachedIsTold(t *testing.T) {
	s := newTokenServer(t, nil)
	s.Close()
	w := newWire(t, s.URL, nil)
	fresh, err := w.refresh(t)
	wantError(t, fresh, err, ErrFailed)
	if !strings.HasSuffix(err.Error(), "cannot connect") {
		t.Errorf("got %v", err)
	}

	tls := httptest.NewUnstartedServer(respond("application/json", granted))
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	w = newWire(t, tls.URL, nil)
	fresh, err = w.refresh(t)
	wantError(t, fresh, err, ErrFailed)
	if !strings.HasSuffix(err.Error(), "its certificate is not trusted") {
		t.Errorf("got %v", err)
	}
}

func TestDefaultTransportIsHTTP1OnFreshConnections(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	transport := newTransport(new(gate))
	transport.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	response, err := (&http.Client{Transport: transport}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); string(body) != "HTTP/1.1" || err != nil {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestNoMoreThanTheBoundIsRead(t *testing.T) {
	var body endless
	w := newWire(t, "https://as.example", nil)
	w.endpoint.transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		connected(req)
		return &http.Response{StatusCode: 200, Body: &body}, nil
	})
	r, trouble := w.endpoint.connect(w.provider.Scheme.OAuth2(), "client", clientSecret, "canary-r1")
	if trouble != nil {
		t.Fatal(trouble)
	}
	defer r.abandon()
	got, trouble := r.send(deadline{start: time.Now(), after: spendDeadline})
	if trouble != nil || !got.cut || len(got.body) != maxAnswer || int(body) > maxAnswer+1 {
		t.Errorf("%v: read %d bytes of at most %d", trouble, body, maxAnswer)
	}
}

// endless counts what is read of it, and fails well before it fills the memory.
type endless int

func (e *endless) Read(p []byte) (int, error) {
	if *e += endless(len(p)); *e > 16*maxAnswer {
		return 0, io.ErrUnexpectedEOF
	}
	return len(p), nil
}

func (e *endless) Close() error { return nil }

func TestATokenRequestIsSentOnce(t *testing.T) {
	sent := 0
	r := &request{
		connected: make(chan struct{}), proceed: make(chan struct{}),
		transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			sent++
			if req.GetBody != nil {
				t.Error("the request could be sent again")
			}
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		}),
	}
	req, err := http.NewRequestWithContext(context.Background(), "POST", "https://as.example", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	if _, err := r.RoundTrip(req); !errors.Is(err, errSentOnce) || sent != 1 {
		t.Errorf("sent %d times: %v", sent, err)
	}
}

// FuzzAnswer holds that whatever a token endpoint sends becomes a JSON object or
// nothing, and that an object is taken as it is.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{granted, granted[:50], `{}`, `{`, `[]`, `{"a":1`, `{"a":1,`, `{"a":{"b":[1,2`, "a=b&c=d", "%", "", "\xef\xbb\xbf{}", `{"error":"invalid_grant"}`} {
		f.Add(200, "application/json", []byte(body), false)
		f.Add(400, "text/plain", []byte(body), true)
	}
	o, err := scheme.New(scheme.Options{OAuth2: &scheme.OAuth2{TokenURL: "https://as.example", ClientID: text(f, "x"), ClientAuth: scheme.ClientAuthNone}})
	if err != nil {
		f.Fatal(err)
	}
	base := parse(f, credential.Document{Data: []byte(`{"access_token":"a","refresh_token":"r","other":1}`)})
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte, cut bool) {
		a := &answer{status: status, contentType: contentType, body: body, cut: cut}
		object, problem := a.classify()
		if object == nil && problem == nil {
			t.Fatal("neither object nor problem")
		}
		if object == nil {
			return
		}
		var fields map[string]any
		if err := json.Unmarshal(object, &fields); err != nil {
			t.Fatalf("%q is not an object: %v", object, err)
		}
		if trimmed := bytes.TrimSpace(body); json.Valid(trimmed) && trimmed[0] == '{' && !bytes.Equal(object, trimmed) {
			t.Fatalf("%q was changed to %q", body, object)
		}
		g := grant{spent: "r", response: object, refusal: problem}
		fresh, err := g.over(o.OAuth2(), base)
		if fresh == nil && err == nil {
			t.Fatal("neither document nor error")
		}
		if fresh != nil && fresh.Get("other").Raw != "1" {
			t.Fatalf("another field changed: %s", fresh.JSON())
		}
	})
}
