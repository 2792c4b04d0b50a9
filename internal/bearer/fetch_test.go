package bearer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersOfAKeyServer(t *testing.T) {
	set := keySetOf(keyOne(t))
	var elsewhere int
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere++
		io.WriteString(w, set)
	}))
	defer other.Close()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(code)
			io.WriteString(w, set)
		}
	}
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
	}
	var packed bytes.Buffer
	packer := gzip.NewWriter(&packed)
	io.WriteString(packer, set+strings.Repeat(" ", maxKeySet))
	packer.Close()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string // part of the error; empty: accepted
	}{
		"key set":           {text(set), ""},
		"just small enough": {text(set + strings.Repeat(" ", maxKeySet-len(set))), ""},
		"too large":         {text(set + strings.Repeat(" ", maxKeySet-len(set)+1)), "larger than"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(w, strings.Repeat(" ", 64<<10))
			}
		}, "larger than"},
		"too large once unpacked": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed.Bytes())
		}, "larger than"},
		"header too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Canary", strings.Repeat("canary", 64<<10))
			io.WriteString(w, set)
		}, "no answer"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, set)
		}, "no answer"},
		"moved":              {status(301), "status 301"},
		"found":              {status(302), "status 302"},
		"temporary redirect": {status(307), "status 307"},
		"created":            {status(201), "status 201"},
		"no content":         {status(204), "status 204"},
		"forbidden":          {status(403), "status 403"},
		"error":              {status(500), "status 500"},
		"text":               {text("canary"), "not a JWK set"},
		"JSON":               {text(`{"error":"canary"}`), "not a JWK set"},
		"empty":              {text(""), "not a JWK set"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.answer)
			defer server.Close()
			v := newVerifier(t, Config{Token: Token{KeySetURL: server.URL, Algorithms: []string{"ES256"}}})
			if c.want == "" {
				wantAccepted(t, v, tokenOne())
				return
			}
			wantUnavailable(t, v, c.want)
		})
	}
	if elsewhere > 0 {
		t.Errorf("a redirect was followed %d times", elsewhere)
	}
}

// The server begins to answer and goes on a byte at a time.
func TestAnswerThatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers sync.WaitGroup
		defer answers.Wait()
		v := newVerifier(t, Config{Token: Token{KeySetURL: "http://127.0.0.1/keys", Algorithms: []string{"ES256"}}, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				answers.Go(func() {
					defer server.Close()
					http.ReadRequest(bufio.NewReader(server))
					_, err := io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
					for err == nil {
						time.Sleep(time.Second)
						_, err = io.WriteString(server, " ")
					}
				})
				return client, nil
			},
		}})
		before := time.Now()
		_, err := v.Verify(t.Context(), "Bearer "+tokenOne())
		if waited := time.Since(before); waited != fetchTime || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "in time") {
			t.Errorf("error %v after %v", err, waited)
		}
	})
}

func TestWhatAKeyServerIsAsked(t *testing.T) {
	var asked *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		io.WriteString(w, keySetOf(keyOne(t)))
	}))
	defer server.Close()
	wantAccepted(t, newVerifier(t, Config{Token: Token{KeySetURL: server.URL + "/keys?policy=p", Algorithms: []string{"ES256"}}}), tokenOne())
	if asked.Method != http.MethodGet || asked.RequestURI != "/keys?policy=p" || !strings.Contains(asked.Header.Get("Accept"), "jwk-set+json") ||
		asked.Header.Get("Authorization") != "" {
		t.Errorf("asked %s %s with %v", asked.Method, asked.RequestURI, asked.Header)
	}
}

func TestKeyServersThatCannotBeTalkedTo(t *testing.T) {
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	for name, c := range map[string]struct{ address, want string }{
		"nobody listens":        {"http://" + closedAddress(t), "cannot connect"},
		"untrusted certificate": {untrusted.URL, "not trusted"},
		"no HTTP":               {"http://" + answering(t, "canary canary\r\n\r\n"), "no answer"},
		"no TLS":                {"https://" + answering(t, "canary canary\r\n\r\n"), "no answer"},
		"closes at once":        {"http://" + answering(t, ""), "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			wantUnavailable(t, newVerifier(t, Config{Token: Token{KeySetURL: c.address, Algorithms: []string{"ES256"}}}), c.want)
		})
	}
}

// A proxy can put what it likes into its refusal.
func TestErrorsOfOthersAreNotQuoted(t *testing.T) {
	for name, cause := range map[string]error{
		"proxy":   &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("canary")},
		"TLS":     &net.OpError{Op: "remote error", Err: errors.New("canary")},
		"reading": errors.New("malformed HTTP response canary"),
	} {
		t.Run(name, func(t *testing.T) {
			err := noAnswer(&url.Error{Op: "Get", URL: "https://as.example", Err: cause})
			if err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func wantUnavailable(t *testing.T, v *Verifier, text string) {
	t.Helper()
	_, err := v.Verify(t.Context(), "Bearer "+tokenOne())
	checkText(t, err, "")
	if err == nil || !strings.HasPrefix(err.Error(), ErrUnavailable.Error()) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %q", err, text)
	}
	wantRefused(t, v, tokenOne(), ErrUnavailable)
}

func closedAddress(t *testing.T) string {
	t.Helper()
	listener := listen(t)
	listener.Close()
	return listener.Addr().String()
}

// answering is the address of a server that says text to whatever is asked.
func answering(t *testing.T, text string) string {
	t.Helper()
	listener := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			fmt.Fprint(conn, text)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}
