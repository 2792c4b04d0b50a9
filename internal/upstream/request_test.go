package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// bound is a scheme with one authenticator for all credentials.
type bound struct{ scheme.Authenticator }

func (bound) Names() scheme.Names { return scheme.Names{Header: []string{"Authorization"}} }

func (b bound) Bind(*credential.Credential) (scheme.Authenticator, error) {
	return b.Authenticator, nil
}

// withNonce sends the nonce of the last challenge.
type withNonce struct{ nonce string }

func (a *withNonce) Authenticate(req *http.Request, _ scheme.Body) error {
	req.Header.Set("Authorization", "nonce "+a.nonce)
	return nil
}

func (a *withNonce) Challenge(res *http.Response) bool {
	a.nonce = res.Header.Get("X-Nonce")
	return a.nonce != ""
}

func TestChallengeToARequestIsAnsweredOnce(t *testing.T) {
	for name, test := range map[string]struct {
		accepts string
		status  int
		sent    string
	}{
		"accepted": {"nonce 1", 200, "nonce, nonce 1"},
		"rejected": {"nothing", 401, "nonce, nonce 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string
			u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sent = append(sent, r.Header.Get("Authorization"))
				if r.Header.Get("Authorization") != test.accepts {
					w.Header().Set("X-Nonce", "1")
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			defer u.Close()
			transport := NewTransport(nil)
			defer transport.CloseIdleConnections()
			r := &Request{URL: mustTemplate(t, u.URL), Transport: transport}
			status, err := r.Send(t.Context(), mustProvider(t, bound{new(withNonce)}), newCredential(t, `{}`))
			if err != nil || status != test.status {
				t.Error(status, err)
			}
			if got := strings.Join(sent, ", "); got != test.sent {
				t.Errorf("sent %q", got)
			}
		})
	}
}

// withCertificate authenticates connections.
type withCertificate struct{ certificate tls.Certificate }

func (a *withCertificate) Authenticate(*http.Request, scheme.Body) error { return nil }

func (a *withCertificate) TLSConfig(base *tls.Config) *tls.Config {
	base.Certificates = []tls.Certificate{a.certificate}
	return base
}

func TestConnectionOfARequestIsAuthenticated(t *testing.T) {
	for name, h2 := range map[string]bool{"h1": false, "h2": true} {
		t.Run(name, func(t *testing.T) {
			u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if len(r.TLS.PeerCertificates) != 1 {
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			u.EnableHTTP2 = h2
			u.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
			u.StartTLS()
			defer u.Close()
			config := &tls.Config{RootCAs: x509.NewCertPool()}
			config.RootCAs.AddCert(u.Certificate())
			transport := NewTransport(config)
			defer transport.CloseIdleConnections()

			r := &Request{URL: mustTemplate(t, u.URL), Transport: transport}
			p := mustProvider(t, bound{&withCertificate{u.TLS.Certificates[0]}})
			if status, err := r.Send(t.Context(), p, newCredential(t, `{}`)); err != nil || status != 200 {
				t.Error(status, err)
			}
			// The others' connections are what they were.
			if status, err := r.Send(t.Context(), mustProvider(t, header("X-Key")), newCredential(t, `{"k":"1"}`)); err != nil || status != 401 {
				t.Error(status, err)
			}
		})
	}
	t.Run("unless the transport cannot do it", func(t *testing.T) {
		r := &Request{URL: mustTemplate(t, "https://api.example"), Transport: http.NewFileTransport(nil)}
		if status, err := r.Send(t.Context(), mustProvider(t, bound{new(withCertificate)}), newCredential(t, `{}`)); err == nil {
			t.Error(status)
		}
	})
}
