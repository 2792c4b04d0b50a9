package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/programs"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// theProxy is the sidecar as an app's proxy.
type theProxy struct {
	*hosts
	address string
	root    string // file of the certificate that the app has to trust
}

func startProxy(w *world.World) *theProxy {
	w.Helper()
	p := &theProxy{hosts: newHosts(w)}
	w.File("api-ca.pem", string(p.ca))
	var err error
	p.address, err = process.FreeAddress()
	w.Check(err)
	_, port, _ := net.SplitHostPort(p.address)
	w.Start(world.Configuration{
		Global:   "skip_install_trust",
		Provider: "allowed_hosts *.api.test:" + p.port,
		Beside: `:` + port + ` {
			bind 127.0.0.1
			upstream_auth_forward {
				providers api
				private on
				transport http {
					resolvers ` + p.resolver + `
					tls_trust_pool file ` + filepath.Join(w.Files, "api-ca.pem") + `
				}
			}
		}`,
		Sites: []world.Site{{Upstream: "https://app.api.test:" + p.port}},
	})
	p.root = filepath.Join(w.Caddy.Dir, "data/caddy/pki/authorities/local/root.crt")
	w.Eventually(func() error { _, err := os.Stat(p.root); return err })
	return p
}

// environment is what an operator tells an app of the proxy.
func (p *theProxy) environment() []string {
	return []string{"https_proxy=http://" + p.address, "HTTPS_PROXY=http://" + p.address, "SSL_CERT_FILE=" + p.root, "CURL_CA_BUNDLE=" + p.root}
}

// Clients that nobody changed have a POST served whose token has expired, once, by nothing but
// their environment, or Java's settings.
func TestClientsThatKnowTheirProxyAlone(t *testing.T) {
	w := world.New(t)
	p := startProxy(w)
	store := filepath.Join(w.Files, "trust.p12")
	_, err := programs.Run(w.Ctx, "keytool", "-importcert", "-noprompt", "-alias", "sidecar", "-file", p.root, "-keystore", store, "-storepass", "changeit")
	w.Check(err)
	host, port, err := net.SplitHostPort(p.address)
	w.Check(err)
	javaSettings := []string{
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dhttps.proxyHost=" + host, "-Dhttps.proxyPort=" + port,
		"-Djavax.net.ssl.trustStore=" + store, "-Djavax.net.ssl.trustStorePassword=changeit",
	}
	for name, command := range map[string][]string{
		"curl":              {"curl", "-sS", "-X", "POST", "-w", "\n%{http_code}", "--data-binary", "@FILE"},
		"wget":              {"wget", "-q", "-O", "-", "--ca-certificate=" + p.root, "--post-file=FILE"},
		"python":            {"python3", programs.Source("post.py"), "URL", "FILE"},
		"HttpURLConnection": append(append([]string{"java"}, javaSettings...), programs.Source("OldPost.java"), "URL", "FILE"),
		"java.net.http":     append(append([]string{"java"}, javaSettings...), programs.Source("Post.java"), "URL", "FILE"),
		"net_http":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := w.Within(t)
			w.SeedExpired(name)
			c := func(w *world.World, _, file string, header ...string) ([]byte, error) {
				address := "https://" + "app.api.test:" + p.port + "/echo"
				if command == nil {
					return p.post(w, address, file, header)
				}
				return p.run(w, command, address, file, header)
			}
			r := world.Request{Tenant: name, ID: "proxied-" + name, Body: world.RandomBytes(300 * world.KiB)}
			w.Check(w.Delivered(r, posts(w, c, r)))
			attempts := w.API.Attempts(r.ID)
			if len(attempts) != 2 {
				t.Errorf("%d attempts", len(attempts))
			}
			for _, a := range attempts {
				if a.Host != "app.api.test:"+p.port || len(a.Header["Proxy-Authorization"])+len(a.Header["Proxy-Connection"])+len(a.Header["Via"]) > 0 {
					t.Errorf("the API saw %s with %v", a.Host, a.Header)
				}
			}
			w.Settled(name)
		})
	}
}

// run runs a program as it is.
func (p *theProxy) run(w *world.World, command []string, address, file string, header []string) ([]byte, error) {
	var arguments []string
	inPlace := false
	for _, argument := range command[1:] {
		switch {
		case argument == "URL":
			argument, inPlace = address, true
		case argument == "FILE":
			argument = file
		case argument == "@FILE":
			argument = "@" + file
		case argument == "--post-file=FILE":
			argument = "--post-file=" + file
		}
		arguments = append(arguments, argument)
	}
	for i := 0; i < len(header); i += 2 {
		switch {
		case inPlace:
			arguments = append(arguments, header[i], header[i+1])
		case command[0] == "wget":
			arguments = append(arguments, "--header="+header[i]+": "+header[i+1])
		default:
			arguments = append(arguments, "-H", header[i]+": "+header[i+1])
		}
	}
	if !inPlace {
		arguments = append(arguments, address)
	}
	output, err := programs.RunIn(w.Ctx, p.environment(), command[0], arguments...)
	if command[0] == "wget" && err == nil { // which fails unless it is 200
		output = append(output, "\n200"...)
	}
	return output, err
}

// client is Go's.
func (p *theProxy) client(w *world.World) *http.Client {
	root, err := os.ReadFile(p.root)
	w.Check(err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		w.Fatal("no certificate")
	}
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: p.address}), TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	w.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (p *theProxy) post(w *world.World, address, file string, header []string) ([]byte, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(w.Ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := p.client(w).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if res.ProtoMajor != 2 {
		err = errors.Join(err, errors.New("it was not HTTP/2"))
	}
	return append(answer, "\n"+res.Status[:3]...), err
}

// What an app's requests are made of works through the proxy as at a site.
func TestStreamsThroughTheProxy(t *testing.T) {
	w := world.New(t)
	p := startProxy(w)
	w.Seed("acme")
	req, err := http.NewRequestWithContext(w.Ctx, http.MethodGet, "https://app.api.test:"+p.port+"/events", nil)
	w.Check(err)
	req.Header.Set("X-Tenant-ID", "acme")
	req.Header.Set(upstream.RequestID, "events")
	res, err := p.client(w).Do(req)
	w.Check(err)
	defer res.Body.Close()
	first := make([]byte, len("data: one\n\n"))
	if _, err := io.ReadFull(res.Body, first); err != nil || !bytes.Contains(first, []byte("one")) {
		t.Fatalf("%q, %v", first, err)
	}
	w.API.Release("events")
	if rest, err := io.ReadAll(res.Body); err != nil || !bytes.Contains(rest, []byte("two")) {
		t.Errorf("%q, %v", rest, err)
	}
}
