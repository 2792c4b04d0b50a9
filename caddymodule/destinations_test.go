package caddymodule_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

// Without allowed_hosts it is the upstreams' hosts that requests go to and name, whatever a
// client says.
func TestClientsDoNotChooseTheHostThatIsSent(t *testing.T) {
	echo := newEcho(t)
	address := strings.TrimPrefix(echo.URL, "http://")
	t.Setenv("UPSTREAM", address)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.url = "http://" + s.address[strings.LastIndex(s.address, ":"):] // whatever the Host
	for site, want := range map[string]string{
		"upstream_auth billing " + echo.URL:                                                                           address,
		"upstream_auth billing {env.UPSTREAM}":                                                                        address,
		"upstream_auth billing " + address[strings.LastIndex(address, ":"):]:                                          "localhost",
		"upstream_auth billing " + echo.URL + " {\nheader_up Host {host}\n}":                                          "",
		"upstream_auth billing " + echo.URL + " {\nheader_up Host {header.X-Host}\n}":                                 address,
		"upstream_auth billing " + echo.URL + " http://127.0.0.1:1 {\nlb_policy first\nheader_up Host 127.0.0.1:1\n}": "127.0.0.1:1",
	} {
		s.start(t, apiKey, site)
		res, body := s.from(t, "evil.example", http.Header{"X-Tenant-Id": {"acme"}, "X-Host": {address}})
		if want == "" {
			if res.StatusCode != 502 || res.Header.Get(proxy.HeaderError) != string(proxy.CodeHostNotAllowed) {
				t.Errorf("%s: got %s %s", site, res.Status, body)
			}
			continue
		}
		if got := decode(t, body); got.Host != want || got.Header.Get("X-Api-Key") != "k" {
			t.Errorf("%s: the upstream saw Host %q, want %q", site, got.Host, want)
		}
	}
}

// With allowed_hosts a client may choose among them, as ever.
func TestAllowedHostOfAClientIsSent(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.url = "http://" + s.address[strings.LastIndex(s.address, ":"):]
	s.start(t, "provider billing {\nallowed_hosts 127.0.0.1 *.example.com\nheader X-Api-Key {credential.api_key}\n}", "upstream_auth billing "+echo.URL)
	if res, body := s.from(t, "a.example.com", as("acme")); res.StatusCode != 200 || decode(t, body).Host != "a.example.com" {
		t.Errorf("got %s %s", res.Status, body)
	}
	if res, _ := s.from(t, "evil.example", as("acme")); res.Header.Get(proxy.HeaderError) != string(proxy.CodeHostNotAllowed) {
		t.Errorf("got %s %v", res.Status, res.Header)
	}
}

func TestUpstreamAtASocket(t *testing.T) {
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	echo := newEcho(t)
	listener, err := net.Listen("unix", s.path("api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewUnstartedServer(echo.Config.Handler)
	upstream.Listener.Close()
	upstream.Listener = listener
	upstream.Start()
	t.Cleanup(upstream.Close)
	for _, hosts := range []string{"", "allowed_hosts unix/" + s.path("api.sock") + " localhost\n"} {
		s.start(t, "provider billing {\n"+hosts+"header X-Api-Key {credential.api_key}\n}", "upstream_auth billing unix/"+s.path("api.sock")+" {\nheader_up Host localhost\n}")
		if res, body := s.get(t, "/", as("acme")); res.StatusCode != 200 || decode(t, body).Header.Get("X-Api-Key") != "k" {
			t.Errorf("%q: got %s %s", hosts, res.Status, body)
		}
	}
}

// 0.0.0.0 is no loopback address, and reaches this machine.
func TestCredentialsGoToOtherMachinesByTLSAlone(t *testing.T) {
	echo := newEcho(t)
	elsewhere := "0.0.0.0" + echo.URL[strings.LastIndex(echo.URL, ":"):]
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	const provider = "provider billing {\nallowed_hosts 0.0.0.0\nheader X-Api-Key {credential.api_key}\n}"
	s.start(t, provider, "upstream_auth billing {header.X-Upstream} {\nheader_up Host 0.0.0.0\n}")
	if res, body := s.get(t, "/", http.Header{"X-Tenant-Id": {"acme"}, "X-Upstream": {elsewhere}}); res.Header.Get(proxy.HeaderError) != string(proxy.CodeHostNotAllowed) {
		t.Errorf("got %s %s", res.Status, body)
	}
	if _, err := adapt(t, s.caddyfile(provider, "upstream_auth billing "+elsewhere)); err == nil || !strings.Contains(err.Error(), "is not https") {
		t.Errorf("got error %v", err)
	}
	for _, c := range []struct{ provider, site string }{
		{provider, "upstream_auth billing {header.X-Upstream} {\ninsecure_http\nheader_up Host 0.0.0.0\n}"},
		{provider, "upstream_auth billing http://" + elsewhere + " {\ninsecure_http\nheader_up Host 0.0.0.0\n}"},
		{strings.Replace(apiKey, "header", "insecure_http\nheader", 1), "upstream_auth billing " + elsewhere},
	} {
		s.start(t, c.provider, c.site)
		if res, body := s.get(t, "/", http.Header{"X-Tenant-Id": {"acme"}, "X-Upstream": {elsewhere}}); res.StatusCode != 200 || decode(t, body).Header.Get("X-Api-Key") != "k" {
			t.Errorf("%s: got %s %s", c.site, res.Status, body)
		}
	}
}

// from makes a request whose Host is not the address that it goes to.
func (s *sidecar) from(t *testing.T, host string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header, req.Host = header, host
	return send(t, &http.Transport{DisableKeepAlives: true}, req)
}
