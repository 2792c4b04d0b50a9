// Package uploads measures what many uploads at a time take of the proxy's memory.
package uploads

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

// Section measures uploads that are held open.
var Section = setup.Section{
	Name:  "uploads",
	About: "memory of uploads held open, all recorded; streaming of large ones",
	Run:   run,
}

var count = flag.Int("uploads", 1000, "uploads: how many are held open")

const (
	size         = 9 << 20
	replayMemory = 64 << 10 // the default

	document = `{"access_token":"access","refresh_token":"refresh"}`
	options  = `limits {
			recorded_disk off off
		}
		provider crm {
			oauth2 {
				token_url https://login.example.com/token
				client_id app
				client_secret {env.HOME}
			}
		}`
)

// held is what was seen of a proxy with all uploads open.
type held struct {
	resident  int64 // when the upstream had all of all bodies
	files     int   // open temporary files then
	gone      time.Duration
	afterward int64 // resident when the responses had headers
}

func run(ctx context.Context, b *setup.Bench) error {
	var results []held
	for _, bare := range []bool{true, false} {
		h, err := hold(ctx, b, bare)
		if err != nil {
			return err
		}
		results = append(results, h)
	}
	bare, ours := results[0], results[1]
	allowed := int64(*count)*replayMemory + 64<<20
	fmt.Fprintf(b.Out, "\n## %d uploads of 9 MiB held open\n\nVmRSS of the proxy when the upstream has read all bodies and answered none; the recordings are temporary files by then.\n", *count)
	fmt.Fprintf(b.Out, "\n| | reverse_proxy | upstream_auth | more | allowed |\n|---|---:|---:|---:|---:|\n")
	fmt.Fprintf(b.Out, "| all bodies sent | %s | %s | **%s** | %s |\n", setup.MiB(bare.resident), setup.MiB(ours.resident), setup.MiB(ours.resident-bare.resident), setup.MiB(allowed))
	fmt.Fprintf(b.Out, "| all responses begun | %s | %s | %s | |\n", setup.MiB(bare.afterward), setup.MiB(ours.afterward), setup.MiB(ours.afterward-bare.afterward))
	fmt.Fprintf(b.Out, "| temporary files | %d | %d, all gone %v after the responses' headers were let go | | |\n", bare.files, ours.files, ours.gone.Round(time.Millisecond))
	return stream(ctx, b)
}

// hold opens the uploads at a proxy of its own.
func hold(ctx context.Context, b *setup.Bench, bare bool) (held, error) {
	u, err := newUpstream(*count)
	if err != nil {
		return held{}, err
	}
	defer u.close()
	dir, err := b.Mkdir("uploads")
	if err != nil {
		return held{}, err
	}
	s := setup.Sidecar{Site: "reverse_proxy " + u.address}
	if !bare {
		store, err := setup.LocalStore(ctx, dir, []string{"acme"}, func(string) string { return document })
		if err != nil {
			return held{}, err
		}
		s = setup.Sidecar{Options: store + "\n" + options, Site: "upstream_auth crm " + u.address}
	}
	c, err := setup.StartCaddy(ctx, b, dir, s)
	if err != nil {
		return held{}, err
	}
	defer c.Kill()

	clients := startClients(c.Address, *count, size)
	defer clients.close()
	if err := u.awaitBodies(ctx, clients.failed, size); err != nil {
		return held{}, err
	}
	var h held
	sent, err := c.Memory()
	if err != nil {
		return held{}, err
	}
	h.resident = sent.Resident
	if h.files, err = temporaryFiles(c.Pid()); err != nil {
		return held{}, err
	}
	begun := time.Now()
	close(u.answer)
	if err := clients.awaitHeaders(ctx); err != nil {
		return held{}, err
	}
	for {
		files, err := temporaryFiles(c.Pid())
		if err != nil {
			return held{}, err
		}
		if files == 0 {
			break
		}
		if time.Since(begun) > time.Minute {
			return held{}, fmt.Errorf("%d temporary files are left a minute after the responses", files)
		}
		time.Sleep(time.Millisecond)
	}
	h.gone = time.Since(begun)
	answered, err := c.Memory()
	h.afterward = answered.Resident
	return h, err
}

// temporaryFiles counts the files without a name that a process has open.
func temporaryFiles(pid int) (int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err == nil && strings.HasSuffix(target, " (deleted)") {
			count++
		}
	}
	return count, nil
}
