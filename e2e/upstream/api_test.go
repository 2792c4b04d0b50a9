package upstream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/websocket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAPI() *API {
	return &API{Subject: func(access string) (string, bool) {
		return strings.CutPrefix(access, "of-")
	}}
}

// clients are one for each protocol that is served.
func clients(t *testing.T, api *API) map[string]func(*http.Request) (*http.Response, error) {
	t.Helper()
	plain, secure := Serve(api), ServeTLS(api)
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	h1 := &http.Transport{}
	t.Cleanup(func() {
		h2c.CloseIdleConnections()
		h1.CloseIdleConnections()
		plain.Close()
		secure.Close()
	})
	to := func(server *httptest.Server, transport http.RoundTripper) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			r.URL.Scheme, r.URL.Host, _ = strings.Cut(server.URL, "://")
			return transport.RoundTrip(r)
		}
	}
	return map[string]func(*http.Request) (*http.Response, error){
		"HTTP/1.1": to(plain, h1),
		"h2c":      to(plain, h2c),
		"TLS":      to(secure, secure.Client().Transport),
	}
}

func request(t *testing.T, method, path, id, token string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, "http://placeholder"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(RequestID, id)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func TestEchoOfCurrentTokensOnly(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	api := newAPI()
	for name, send := range clients(t, api) {
		t.Run(name, func(t *testing.T) {
			res, err := send(request(t, "POST", "/echo", name, "stale", bytes.NewReader(body)))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("stale token: %d", res.StatusCode)
			}

			res, err = send(request(t, "POST", "/echo", name, "of-acme", bytes.NewReader(body)))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var echo Echo
			if err := json.NewDecoder(res.Body).Decode(&echo); err != nil || echo.Tenant != "acme" || echo.Digest != DigestOf(body) {
				t.Errorf("echo: %+v, %v", echo, err)
			}

			got := api.Attempts(name)
			if len(got) != 2 || got[0].Delivered() || !got[1].Delivered() || got[1].Number != 2 || got[0].Digest != DigestOf(body) {
				t.Errorf("attempts: %+v", got)
			}
		})
	}
}

func TestEarly401ComesDuringTheUpload(t *testing.T) {
	api := newAPI()
	for name, send := range clients(t, api) {
		t.Run(name, func(t *testing.T) {
			reader, writer := io.Pipe()
			res, err := send(request(t, "POST", "/early", name, "stale", reader))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized {
				t.Fatalf("status %d", res.StatusCode)
			}
			second, err := send(request(t, "POST", "/early", name, "of-acme", strings.NewReader("whole")))
			if err != nil {
				t.Fatal(err)
			}
			second.Body.Close()
			_, _ = io.WriteString(writer, "late")
			writer.Close()
			_, _ = io.Copy(io.Discard, res.Body)

			got := api.Attempts(name)
			if len(got) != 2 || got[0].Accepted || !got[1].Delivered() || got[1].Digest != DigestOf([]byte("whole")) {
				t.Errorf("attempts: %+v", got)
			}
		})
	}
}

func TestAnswersArriveInParts(t *testing.T) {
	api := newAPI()
	for name, send := range clients(t, api) {
		t.Run(name, func(t *testing.T) {
			res, err := send(request(t, "GET", "/events", name, "of-acme", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			events := bufio.NewReader(res.Body)
			if line, err := events.ReadString('\n'); err != nil || line != "data: one\n" {
				t.Fatalf("first event %q, %v", line, err)
			}
			api.Release(name)
			rest, err := io.ReadAll(events)
			if err != nil || string(rest) != "\ndata: two\n\n" {
				t.Errorf("the rest %q, %v", rest, err)
			}

			for token, status := range map[string]int{"stale": 401, "of-acme": 200} {
				res, err := send(request(t, "GET", "/chunked", name+"chunked", token, nil))
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != status || res.ContentLength != -1 || string(text) != strings.Join(Chunks, "") {
					t.Errorf("%s: %d, length %d, %q", token, res.StatusCode, res.ContentLength, text)
				}
			}
		})
	}
}

func TestTrailersBothWays(t *testing.T) {
	api := newAPI()
	for name, send := range clients(t, api) {
		t.Run(name, func(t *testing.T) {
			r := request(t, "POST", "/trailers", name, "of-acme", io.NopCloser(strings.NewReader("12345")))
			r.ContentLength = -1
			r.Trailer = http.Header{"X-Sum": {"five"}}
			res, err := send(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.Trailer.Get("X-Length") != "5" {
				t.Errorf("response trailer %v", res.Trailer)
			}
			if got := api.Attempts(name); len(got) != 1 || got[0].Trailer.Get("X-Sum") != "five" {
				t.Errorf("attempts: %+v", got)
			}
		})
	}
}

func TestSocketEchoes(t *testing.T) {
	api := newAPI()
	server := Serve(api)
	defer server.Close()
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(server.URL, "http")+"/socket", "http://localhost")
	if err != nil {
		t.Fatal(err)
	}
	if ws, err := config.DialContext(t.Context()); err == nil {
		ws.Close()
		t.Error("a websocket without a token")
	}
	config.Header.Set("Authorization", "Bearer of-acme")
	ws, err := config.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if err := websocket.Message.Send(ws, "ping"); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := websocket.Message.Receive(ws, &back); err != nil || back != "ping" {
		t.Errorf("%q, %v", back, err)
	}
}

func TestProbesNeedNoToken(t *testing.T) {
	api := newAPI()
	send := clients(t, api)["TLS"]
	res, err := send(request(t, "GET", "/health", "", "", nil))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if err := api.AwaitProbes(t.Context(), 1); err != nil || !api.Probes()[0].TLS || len(api.All()) != 0 {
		t.Errorf("%v, probes %+v", err, api.Probes())
	}
}
