package vaultstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(t)
	cert, err := x509.ParseCertificate(sign(t, template, template, key, key))
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// issue returns the PEM files of a certificate for a name, and the pair itself.
func (a authority) issue(t *testing.T, name string) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key := newKey(t)
	der := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, a.cert, key, a.key)
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, string(certPEM)), writeFile(t, string(keyPEM)), pair
}

func (a authority) file(t *testing.T) string {
	t.Helper()
	return writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})))
}

func TestTLSSettings(t *testing.T) {
	ours, another := newAuthority(t), newAuthority(t)
	_, _, serverPair := ours.issue(t, "vault.internal")
	certFile, keyFile, _ := ours.issue(t, "sidecar")
	strangeCert, strangeKey, _ := another.issue(t, "sidecar")

	clients := x509.NewCertPool()
	clients.AddCert(ours.cert)
	server := httptest.NewUnstartedServer(&script{t: t, lease: 3600})
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serverPair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.StartTLS()
	t.Cleanup(server.Close)

	cases := []struct {
		name string
		tls  Config
		want string // part of the error
	}{
		{"all given", Config{Files: tlsfiles.Files{TLSCA: ours.file(t), TLSClientCert: certFile, TLSClientKey: keyFile}, TLSServerName: "vault.internal"}, ""},
		{"no CA", Config{Files: tlsfiles.Files{TLSClientCert: certFile, TLSClientKey: keyFile}, TLSServerName: "vault.internal"}, "certificate"},
		{"another CA", Config{Files: tlsfiles.Files{TLSCA: another.file(t), TLSClientCert: certFile, TLSClientKey: keyFile}, TLSServerName: "vault.internal"}, "certificate"},
		{"no server name", Config{Files: tlsfiles.Files{TLSCA: ours.file(t), TLSClientCert: certFile, TLSClientKey: keyFile}}, "certificate"},
		{"another server name", Config{Files: tlsfiles.Files{TLSCA: ours.file(t), TLSClientCert: certFile, TLSClientKey: keyFile}, TLSServerName: "vault.example"}, "certificate"},
		{"no client certificate", Config{Files: tlsfiles.Files{TLSCA: ours.file(t)}, TLSServerName: "vault.internal"}, "certificate"},
		{"another's client certificate", Config{Files: tlsfiles.Files{TLSCA: ours.file(t), TLSClientCert: strangeCert, TLSClientKey: strangeKey}, TLSServerName: "vault.internal"}, "tls:"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store := newStore(t, Config{
				Address: server.URL, Files: c.tls.Files, TLSServerName: c.tls.TLSServerName,
				Auth: AuthConfig{Method: MethodAppRole, RoleID: secretRoleID, SecretIDFile: writeFile(t, secretID)},
			})
			_, err := store.Get(t.Context(), secretKey)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			checkNoSecret(t, err.Error())
		})
	}
}

func TestClientCertificateIsReadAtEachHandshake(t *testing.T) {
	ours := newAuthority(t)
	_, _, serverPair := ours.issue(t, "vault.internal")
	certFile, keyFile, _ := ours.issue(t, "first")
	seen := make(chan string, 100)
	server := httptest.NewUnstartedServer(&script{t: t, lease: 3600})
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{serverPair}, ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			seen <- state.PeerCertificates[0].Subject.CommonName
			return nil
		},
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	store := newStore(t, Config{
		Address: server.URL, Files: tlsfiles.Files{TLSCA: ours.file(t), TLSClientCert: certFile, TLSClientKey: keyFile}, TLSServerName: "vault.internal",
		Auth: AuthConfig{Method: MethodAppRole, RoleID: "r", SecretIDFile: writeFile(t, "s")},
	})
	mustGet(t, store)
	if name := <-seen; name != "first" {
		t.Fatalf("certificate of %q", name)
	}

	newCert, newKey, _ := ours.issue(t, "second")
	for from, to := range map[string]string{newCert: certFile, newKey: keyFile} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	server.CloseClientConnections()
	eventually(t, 5*time.Second, func() error {
		_, err := store.Get(t.Context(), secretKey)
		return err
	})
	for name := "first"; name != "second"; {
		select {
		case name = <-seen:
		case <-time.After(5 * time.Second):
			t.Fatal("the new certificate was not used")
		}
	}
}

func TestPlainServerUnderHTTPSIsNamed(t *testing.T) {
	server := httptest.NewServer(&script{t: t})
	t.Cleanup(server.Close)
	store := newStore(t, Config{
		Address: strings.Replace(server.URL, "http://", "https://", 1),
		Auth:    AuthConfig{Method: MethodAppRole, RoleID: "r", SecretIDFile: writeFile(t, "s")},
	})
	if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		t.Fatalf("error %v", err)
	}
}
