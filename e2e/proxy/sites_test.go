package proxy

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A site that others can use, and whose address is this machine's, is told with its line
// when the Caddyfile is read, at start, and by the doctor, which finds nothing wrong in it.
func TestSitesThatAreNotWhatTheyLookLikeAreTold(t *testing.T) {
	w := world.New(t)
	address, err := process.FreeAddress()
	w.Check(err)
	_, port, err := net.SplitHostPort(address)
	w.Check(err)
	const beside = "http://127.0.0.1:%s {\nupstream_auth api %s\n}\n"
	w.Start(world.Configuration{Beside: fmt.Sprintf(beside, port, w.APIURL)})

	file := filepath.Join(w.Caddy.Dir, "Caddyfile")
	caddyfile, err := os.ReadFile(file)
	w.Check(err)
	line := 1 + bytes.Count(caddyfile[:bytes.Index(caddyfile, []byte("http://127.0.0.1:"+port))], []byte("\n"))
	for _, want := range []string{
		fmt.Sprintf("write :%s and bind 127.0.0.1, at %s:%d", port, file, line),
		fmt.Sprintf("whoever reaches :%s can use the tenants of provider api", port),
	} {
		if n := bytes.Count(w.Caddy.Output(), []byte(want)); n != 1 {
			t.Errorf("told %d times: %s", n, want)
		}
	}
	report, _, err := w.Caddy.Command(w.Ctx, "", "doctor")
	w.Check(err)
	for _, want := range []string{"\nok     listener: whoever reaches :" + port, "\nok     site: the site of provider api is for requests with the Host 127.0.0.1"} {
		if !bytes.Contains(report, []byte(want)) {
			t.Errorf("the doctor does not say %q:\n%s", want, report)
		}
	}
}
