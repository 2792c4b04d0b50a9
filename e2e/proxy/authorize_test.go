package proxy

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// curl reaches a site over the network by a certificate, and one at a socket as a user
// of this machine. Each uses its own tenants and no others, also when its request has to be
// sent again; a third site asks for each tenant's secret.
func TestCurlUsesTheTenantsThatAreItsOwn(t *testing.T) {
	w := world.New(t)
	address, err := process.FreeAddress()
	w.Check(err)
	_, port, err := net.SplitHostPort(address)
	w.Check(err)
	site := "https://localhost:" + port
	w.Certificates("acme", "globex")
	open, err := os.MkdirTemp("/tmp", "authorize") // where other users get to
	w.Check(err)
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	w.Check(os.Chmod(open, 0o711))
	socket := filepath.Join(open, "app.sock")

	file := func(name string) string { return filepath.Join(w.Files, name) }
	proxy := func(authorize string) string {
		return fmt.Sprintf("upstream_auth api %s {\nauthorize %s\n}\n", w.APIURL, authorize)
	}
	w.Start(world.Configuration{
		Global: "auto_https off",
		Sites:  []world.Site{{Handler: "authorize secret {\nheader X-Secret\nfield account\n}"}},
		Beside: site + " {\nbind 127.0.0.1\ntls " + file("server.pem") + " " + file("server.key") +
			" {\nclient_auth {\nmode verify_if_given\ntrust_pool file " + file("ca.pem") + "\n}\n}\n" +
			proxy("mtls {\nuri spiffe://example.org/tenant/{tenant}\n}") + "}\n" +
			"http:// {\nbind unix/" + socket + "|0222\n" + proxy(fmt.Sprintf("peer {\nuid %d acme\n}", os.Getuid())) + "}\n",
	})

	w.Seed("acme")
	w.Seed("globex")
	byCertificate := func(name string) []string {
		return []string{"--cacert", file("ca.pem"), "--cert", file(name + ".pem"), "--key", file(name + ".key"), site}
	}
	bySecret := func(secret string) []string {
		return []string{"-H", "Host: app", "-H", "X-Secret: " + secret, "http://" + w.Caddy.Address}
	}
	const nobody = 65534
	for i, c := range []struct {
		tenant, want string
		uid          uint32
		args         []string
	}{
		{"acme", "200", 0, byCertificate("acme")},
		{"globex", "200", 0, byCertificate("globex")},
		{"globex", "403", 0, byCertificate("acme")},
		{"nobody", "403", 0, byCertificate("acme")},
		{"acme", "403", 0, []string{"--cacert", file("ca.pem"), site}},
		{"acme", "200", 0, []string{"--unix-socket", socket, "http://localhost"}},
		{"globex", "403", 0, []string{"--unix-socket", socket, "http://localhost"}},
		{"acme", "403", nobody, []string{"--unix-socket", socket, "http://localhost"}},
		{"acme", "200", 0, bySecret("account of acme")},
		{"acme", "403", 0, bySecret("account of globex")},
		{"nobody", "403", 0, bySecret("account of acme")},
	} {
		if c.uid != 0 && os.Getuid() != 0 {
			continue // who is no one else
		}
		if c.tenant != "nobody" {
			w.Check(w.Auth.Expire(c.tenant))
		}
		id := fmt.Sprintf("curl-%d", i)
		url := len(c.args) - 1
		args := append([]string{"-sS", "-o", os.DevNull, "-w", "%{http_code} %header{upstream-auth-error}", "-H", "X-Tenant-ID: " + c.tenant,
			"-H", "X-Request-Id: " + id, "--data-binary", "order"}, c.args[:url]...)
		command := exec.CommandContext(w.Ctx, "curl", append(args, c.args[url]+"/echo")...)
		if c.uid != 0 {
			command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}}
			command.Dir = open
		}
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("curl %s: %v: %s", strings.Join(args, " "), err, output)
		}
		status, code, _ := strings.Cut(strings.TrimSpace(string(output)), " ")
		attempts := w.API.Attempts(id)
		switch {
		case status != c.want:
			t.Errorf("%v: got %s", c, output)
		case c.want == "403" && (code != "tenant_unknown" || len(attempts) > 0):
			t.Errorf("%v: got %s, and the upstream was asked %d times", c, output, len(attempts))
		case c.want == "200":
			last := attempts[len(attempts)-1]
			if last.Tenant != c.tenant || !last.Delivered() || last.Header.Get("X-Secret") != "" {
				t.Errorf("%v: the upstream saw %+v", c, last)
			}
			w.Settled(c.tenant)
		}
	}
}
