package caddymodule_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// forwarded is an API that takes the token "new" alone, the sidecar that is a proxy to it, and
// what a client needs to use that.
type forwarded struct {
	*sidecar
	api    *httptest.Server
	bodies atomic.Int64 // that came whole, with a good token
}

// newForwarded starts them. The lines are those of the proxy's block.
func newForwarded(t *testing.T, lines string) *forwarded {
	t.Helper()
	f := new(forwarded)
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"new","refresh_token":"second","expires_in":3600}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer new" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if err == nil && string(body) == "the body" {
			f.bodies.Add(1)
		}
		fmt.Fprintf(w, "%s %s %s %q", r.Method, r.Host, r.URL.RequestURI(), r.Header["Proxy-Authorization"])
	})
	f.api = httptest.NewUnstartedServer(mux)
	f.api.EnableHTTP2 = true
	f.api.StartTLS()
	t.Cleanup(f.api.Close)
	f.sidecar = newSidecar(t, map[credential.Key]string{
		{Provider: "crm", Tenant: "acme"}: `{"access_token":"old","refresh_token":"first","password":"acme's"}`,
	})
	ca := f.path("api.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.api.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := f.caddyfile(`provider crm {
		allowed_hosts `+f.host()+`
		oauth2 {
			token_url   `+f.api.URL+`/token
			tls_ca      `+ca+`
			client_id   app
			client_auth none
		}
	}`, "upstream_auth_forward {\nproviders crm\n"+lines+"\ntransport http {\ntls_trust_pool file "+ca+"\n}\n}")
	startText(t, strings.Replace(conf, "persist_config off", "persist_config off\nskip_install_trust", 1))
	return f
}

// host is the API's, with its port.
func (f *forwarded) host() string { return strings.TrimPrefix(f.api.URL, "https://") }

// client returns one that knows the proxy, and trusts its authority.
func (f *forwarded) client(t *testing.T, user *url.Userinfo) *http.Client {
	t.Helper()
	root, err := os.ReadFile(f.path("pki/authorities/local/root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		t.Fatal("no certificate of the authority")
	}
	proxy := &url.URL{Scheme: "http", Host: f.address, User: user}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestAppThatKnowsItsProxyAlone(t *testing.T) {
	f := newForwarded(t, "tenant acme\nprivate on")
	client := f.client(t, nil)
	for range 3 {
		res, err := client.Post(f.api.URL+"/orders?a=b", "text/plain", strings.NewReader("the body"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if want := "POST " + f.host() + " /orders?a=b []"; res.StatusCode != 200 || string(body) != want || res.ProtoMajor != 2 {
			t.Errorf("%s %d: %s, want %s", res.Proto, res.StatusCode, body, want)
		}
	}
	if n := f.bodies.Load(); n != 3 {
		t.Errorf("the API got the body %d times with a good token", n)
	}
}

func TestProxysUserIsTheTenant(t *testing.T) {
	f := newForwarded(t, "tenant {upstream_auth.proxy_user}\nprivate on\nauthorize secret {\nfield password\n}")
	for name, test := range map[string]struct {
		user   *url.Userinfo
		status int // of the proxy
	}{
		"right":       {url.UserPassword("acme", "acme's"), 200},
		"wrong":       {url.UserPassword("acme", "globex's"), 407},
		"nobody":      {nil, 407},
		"no tenant":   {url.UserPassword("globex", "acme's"), 407},
		"no name":     {url.UserPassword("../acme", "acme's"), 407},
		"no password": {url.User("acme"), 407},
	} {
		res, err := f.client(t, test.user).Post(f.api.URL+"/", "text/plain", strings.NewReader("the body"))
		switch {
		case test.status == 200 && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.status == 200:
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 200 || !strings.HasSuffix(string(body), " []") {
				t.Errorf("%s: %d %s", name, res.StatusCode, body)
			}
		case err == nil || !strings.Contains(err.Error(), "Proxy Authentication Required"):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// raw sends text to the proxy and returns what it answers at first.
func (f *forwarded) raw(t *testing.T, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:n])
}

func TestWhatTheProxyRefuses(t *testing.T) {
	f := newForwarded(t, "tenant acme\nprivate on\ntunnel 127.0.0.1:1")
	_, port, _ := net.SplitHostPort(f.address)
	for text, want := range map[string]string{
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n":    "403",
		"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n":            "403",
		"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n":              "502", // nobody listens
		"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n":                  "400",
		"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n":        "403",
		"GET http://127.0.0.1:" + port + "/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": "403",
		"GET ftp://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n":         "400",
		"GET / HTTP/1.1\r\nHost: " + f.host() + "\r\n\r\n":                       "400",
		"GET /upstream_auth/ HTTP/1.1\r\nHost: localhost\r\n\r\n":                "400",
	} {
		if answer := f.raw(t, text); !strings.HasPrefix(answer, "HTTP/1.1 "+want) {
			t.Errorf("%q: %.80q, want %s", text, answer, want)
		}
	}
}

// Where a name leads is looked at when it is connected to, whatever it was before.
func TestProxyIsNoWayIntoPrivateNetworks(t *testing.T) {
	f := newForwarded(t, "tenant acme\ntunnel localhost:9 169.254.169.254:80 10.0.0.1:443")
	for _, text := range []string{
		"CONNECT " + f.host() + " HTTP/1.1\r\nHost: " + f.host() + "\r\n\r\n", // claimed
		"CONNECT localhost:9 HTTP/1.1\r\nHost: localhost:9\r\n\r\n",
		"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n",
		"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: 10.0.0.1:443\r\n\r\n",
		"GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
		"GET http://localhost:9/ HTTP/1.1\r\nHost: localhost:9\r\n\r\n",
	} {
		if answer := f.raw(t, text); !strings.HasPrefix(answer, "HTTP/1.1 403") || !strings.Contains(answer, "Upstream-Auth-Error: host_not_allowed") {
			t.Errorf("%q: %.200q", text, answer)
		}
	}
	// A claimed request that did not come by CONNECT.
	if answer := f.raw(t, "GET http://"+f.host()+"/ HTTP/1.1\r\nHost: "+f.host()+"\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 502") {
		t.Errorf("%.200q", answer)
	}
}

func TestHostsThatDisagree(t *testing.T) {
	f := newForwarded(t, "tenant acme\nprivate on")
	connect := func(t *testing.T) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", f.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", f.host(), f.host())
		answer := make([]byte, 100)
		if n, err := conn.Read(answer); err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200") {
			t.Fatalf("%q, %v", answer[:n], err)
		}
		return conn
	}
	transport := f.client(t, nil).Transport.(*http.Transport)

	t.Run("TLS server name", func(t *testing.T) {
		conf := transport.TLSClientConfig.Clone()
		conf.ServerName = "api.other.example"
		if err := tls.Client(connect(t), conf).Handshake(); err == nil || strings.Contains(err.Error(), "certificate is valid for") {
			t.Errorf("a certificate was issued: %v", err)
		}
	})
	t.Run("Host", func(t *testing.T) {
		for _, host := range []string{"api.other.example", "127.0.0.1", "127.0.0.1:1", f.host() + ".", ""} {
			conf := transport.TLSClientConfig.Clone()
			conf.ServerName, conf.NextProtos = "127.0.0.1", []string{"http/1.1"}
			conn := tls.Client(connect(t), conf)
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
			answer := make([]byte, 4096)
			n, err := conn.Read(answer)
			if got := string(answer[:n]); err != nil || !strings.HasPrefix(got, "HTTP/1.1 421") && !strings.HasPrefix(got, "HTTP/1.1 400") {
				t.Errorf("Host %q: %.60q, %v", host, got, err)
			}
		}
	})
	t.Run("URL", func(t *testing.T) {
		conf := transport.TLSClientConfig.Clone()
		conf.ServerName, conf.NextProtos = "127.0.0.1", []string{"http/1.1"}
		for _, line := range []string{"GET https://api.other.example/", "CONNECT api.other.example:443", "GET http://" + f.host() + "0/"} {
			conn := tls.Client(connect(t), conf)
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n\r\n", line, f.host())
			answer := make([]byte, 4096)
			n, err := conn.Read(answer)
			if got := string(answer[:n]); err != nil || !strings.HasPrefix(got, "HTTP/1.1 4") {
				t.Errorf("%s: %.60q, %v", line, got, err)
			}
		}
	})
	t.Run("connection without TLS", func(t *testing.T) {
		conn := connect(t)
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", f.host())
		answer, _ := io.ReadAll(conn)
		if strings.Contains(string(answer), "200 OK") {
			t.Errorf("%q", answer)
		}
	})
	if n := f.bodies.Load(); n != 0 {
		t.Errorf("the API was asked %d times", n)
	}
}

func TestTunnelPassesBlind(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { // ends when the client has said all
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %q %q", r.Host, r.Header["Authorization"], r.Header["Proxy-Authorization"])
	}))
	t.Cleanup(plain.Close)
	plainHost := strings.TrimPrefix(plain.URL, "http://")
	f := newForwarded(t, "tenant {upstream_auth.proxy_user}\nauthorize secret {\nfield password\n}\nprivate on\ntunnel "+echo.Addr().String()+" "+plainHost)

	target := echo.Addr().String()
	connect := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if answer := f.raw(t, connect+"\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 407") {
		t.Errorf("without a password: %.80q", answer)
	}
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// What is behind the request's end is for the other side already.
	fmt.Fprintf(conn, "%sProxy-Authorization: Basic YWNtZTphY21lJ3M=\r\n\r\n\x00\xffearly", connect)
	head := make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n"))
	if _, err := io.ReadFull(conn, head); err != nil || !strings.HasPrefix(string(head), "HTTP/1.1 200") {
		t.Fatalf("%q, %v", head, err)
	}
	fmt.Fprint(conn, "late")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if echoed, err := io.ReadAll(conn); err != nil || string(echoed) != "\x00\xffearlylate" {
		t.Errorf("%q, %v", echoed, err)
	}
	res, err := f.client(t, url.UserPassword("acme", "acme's")).Get(plain.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if want := plainHost + " [] []"; string(body) != want {
		t.Errorf("%s, want %s", body, want)
	}
}

func TestProxyThatOthersCanUseIsTold(t *testing.T) {
	s := administered(t, nil)
	s.site = s.address[strings.LastIndex(s.address, ":"):]
	for more, want := range map[string]string{
		"tenant acme": "whoever reaches " + s.site + " can use the tenants of provider billing",
		"tenant {upstream_auth.proxy_user}\nauthorize secret {\nfile /run/secrets/{tenant}\n}": "",
	} {
		conf := s.caddyfile("provider billing {\nallowed_hosts api.example.com\nheader X-Api-Key {credential.api_key}\n}",
			"upstream_auth_forward {\nproviders billing\n"+more+"\n}")
		startText(t, strings.Replace(conf, "persist_config off", "persist_config off\nskip_install_trust", 1))
		if got := s.told(t)["listener"]; !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", more, got, want)
		}
	}
}

// http goes on as it is to this machine, which is what it may be for.
func TestClaimedRequestsWithoutTLS(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %q", r.Host, r.URL.RequestURI(), r.Header.Get("X-Api-Key"), r.Header["X-Tenant-Id"])
	}))
	t.Cleanup(plain.Close)
	host := strings.TrimPrefix(plain.URL, "http://")
	f := &forwarded{sidecar: newSidecar(t, map[credential.Key]string{{Provider: "billing", Tenant: "acme"}: `{"api_key":"acme's"}`})}
	conf := f.caddyfile("provider billing {\nallowed_hosts "+host+"\nheader X-Api-Key {credential.api_key}\n}", "upstream_auth_forward {\nproviders billing\nprivate on\n}")
	startText(t, strings.Replace(conf, "persist_config off", "persist_config off\nskip_install_trust", 1))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plain.URL+"/orders?a=b", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Tenant-ID", "acme")
	res, err := f.client(t, nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if want := host + " /orders?a=b acme's []"; res.StatusCode != 200 || string(body) != want {
		t.Errorf("%d %s, want %s", res.StatusCode, body, want)
	}
}
