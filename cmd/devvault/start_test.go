package main

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/vault/api"
)

func TestCommandLineOfVault(t *testing.T) {
	p, out := launch(t, "server", "-dev", "-dev-no-store-token", "-dev-listen-address=127.0.0.1:0", "-dev-root-token-id=root")
	var lines []string
	for out.Scan() {
		lines = append(lines, out.Text())
		if strings.HasPrefix(out.Text(), "Root Token: ") {
			break
		}
	}
	if last := lines[len(lines)-1]; last != "Root Token: root" {
		t.Fatalf("last line %q; %s", last, &p.stderr)
	}
	if code := p.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d after SIGINT", code)
	}
	if p.stderr.Len() > 0 {
		t.Errorf("stderr: %s", &p.stderr)
	}
}

func TestBadCommandLine(t *testing.T) {
	for _, args := range [][]string{{"-no-such-flag"}, {"-log-level=loud"}, {"agent"}, {"-dev-listen-address=nowhere"}} {
		if msg := fail(t, args...); strings.TrimSpace(msg) == "" {
			t.Errorf("%v: no message", args)
		}
	}
}

func TestPortZero(t *testing.T) {
	p := start(t)
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	if port := u.Port(); port == "" || port == "0" {
		t.Errorf("address %s", p.url)
	}
	if _, err := p.root(t).Auth().Token().LookupSelf(); err != nil {
		t.Error(err)
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := filepath.Join(t.TempDir(), "data")
	msg := fail(t, "-dev-listen-address="+l.Addr().String(), "-data-dir="+dir)
	if !strings.Contains(msg, "address already in use") {
		t.Errorf("message: %s", msg)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it made %s", dir)
	}
}

func TestSignalEndsIt(t *testing.T) {
	for name, args := range map[string][]string{"memory": nil, "disk": {"-data-dir=" + t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			p := start(t, args...)
			if _, err := p.root(t).Sys().Health(); err != nil { // leaves an idle connection
				t.Fatal(err)
			}
			if code := p.stop(t, syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d: %s", code, &p.stderr)
			}
		})
	}
	t.Run("sealed", func(t *testing.T) {
		p := start(t)
		if err := p.root(t).Sys().Seal(); err != nil {
			t.Fatal(err)
		}
		if code := p.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d: %s", code, &p.stderr)
		}
	})
}

func TestTLS(t *testing.T) {
	certs, data := t.TempDir(), t.TempDir()
	args := []string{"-dev-tls", "-dev-tls-cert-dir=" + certs, "-data-dir=" + data}

	ask := func(p *process, ca string) error {
		config := api.DefaultConfig()
		config.Address, config.MaxRetries = p.url, 0
		if err := config.ConfigureTLS(&api.TLSConfig{CACert: ca}); err != nil {
			t.Fatal(err)
		}
		c, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Sys().Health()
		return err
	}
	var ca []byte
	for range 2 {
		p := start(t, args...)
		if !strings.HasPrefix(p.url, "https://127.0.0.1:") {
			t.Errorf("address %s", p.url)
		}
		if err := ask(p, filepath.Join(certs, "vault-ca.pem")); err != nil {
			t.Error(err)
		}
		if err := ask(p, ""); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("without the CA: err = %v", err)
		}
		p.stop(t, syscall.SIGTERM)

		pem, err := os.ReadFile(filepath.Join(certs, "vault-ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if ca != nil && string(ca) != string(pem) {
			t.Error("a restart made a new CA")
		}
		ca = pem
	}
}
