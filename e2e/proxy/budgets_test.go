package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// One tenant holds more uploads than it may have recorded, names others that do not exist,
// has its tokens rejected, brings large credentials, and makes and opens links to connect,
// all at once. It costs nobody else a refresh or a replay: what
// it has on disk stays within its own limit.
func TestTenantAtFullForceCostsOthersNoRefresh(t *testing.T) {
	w := world.New(t)
	recordings := t.TempDir()
	const (
		uploads = 149
		size    = world.MiB
		others  = 10
		limit   = 28 * world.MiB // of one tenant, a quarter of what all may have
	)
	w.Start(w.WithAPI(world.Configuration{
		Provider: "limits {\nrecorded_disk 28MiB 113MiB\n}",
		OAuth2:   "authorization_url " + w.AuthURL + "/authorize",
		Sites: []world.Site{
			{Handler: "replay_memory 64KiB\nreplay_dir " + recordings},
			{Name: "connect.example", Around: "upstream_auth_connect api {\nredirect_uris https://connect.example/oauth/callback\n}"},
		},
	}, ""))
	w.Seed("greedy")
	greedy := w.TokenOf("greedy")
	ctx, cancel := context.WithTimeout(w.Ctx, 2*time.Minute)
	defer cancel()

	held := world.NewGate()
	var all sync.WaitGroup
	body := world.RandomBytes(size)
	for i := range uploads {
		r := world.Request{Tenant: "greedy", ID: fmt.Sprint("upload ", i), Body: body}
		all.Go(func() {
			reader, writer := io.Pipe()
			go func() {
				_, err := writer.Write(body[:size-1])
				if err == nil {
					held.Pass()
					_, err = writer.Write(body[size-1:])
				}
				_ = writer.CloseWithError(err)
			}()
			req, err := r.Build(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			req.Body = reader
			res, err := w.Clients["HTTP/1.1"].Transport.RoundTrip(req)
			if err != nil {
				t.Errorf("%s: %v", r.ID, err)
				return
			}
			defer res.Body.Close()
			content, err := io.ReadAll(res.Body)
			if err == nil {
				err = w.Delivered(r, world.Response{Response: res, Content: content})
			}
			if err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
		})
	}
	defer all.Wait()
	defer held.Open()
	for i := range uploads {
		w.Check(w.API.Await(ctx, fmt.Sprint("upload ", i), func(a []upstream.Attempt) bool {
			return len(a) > 0 && a[0].Length >= size-1
		}))
	}

	noise, quiet := context.WithCancel(ctx)
	defer quiet()
	var brought, opened atomic.Int64
	for range 4 {
		all.Go(func() {
			for noise.Err() == nil {
				if brings(w, greedy) == http.StatusOK {
					brought.Add(1)
				}
			}
		})
		all.Go(func() {
			for noise.Err() == nil {
				if opensLink(w, greedy) == http.StatusOK {
					opened.Add(1)
				}
			}
		})
	}
	for worker := range 4 {
		all.Go(func() {
			for i := 0; noise.Err() == nil; i++ {
				_, _ = w.Send(noise, world.Request{Tenant: fmt.Sprint("nobody-", worker, "-", i), ID: "unknown"})
				_, _ = w.Send(noise, world.Request{Tenant: "greedy", ID: fmt.Sprint("rejected ", worker, " ", i), Path: "/always-401"})
			}
		})
	}
	for i := range others {
		tenant := fmt.Sprint("other-", i)
		w.SeedExpired(tenant)
		r := world.Request{Tenant: tenant, ID: tenant, Body: body}
		w.Check(w.Delivered(r, w.Must(r)))
		if got := w.Auth.Of(tenant); len(got) != 1 {
			t.Errorf("%s: %d refreshes", tenant, len(got))
		}
	}
	w.Soon(time.Minute, func() error {
		if brought.Load() == 0 || opened.Load() == 0 {
			return fmt.Errorf("%d credentials were brought, and %d links opened", brought.Load(), opened.Load())
		}
		return nil
	})
	if onDisk := recorded(w, recordings); onDisk > limit || onDisk < limit/2 {
		t.Errorf("%d MiB are recorded on disk of one tenant that may have %d", onDisk/world.MiB, limit/world.MiB)
	}
	quiet()
	held.Open()
	all.Wait()
	if onDisk := recorded(w, recordings); onDisk > 0 {
		t.Errorf("%d bytes are left", onDisk)
	}
}

// brings has the tenant greedy bring a large credential, with new tokens, and returns the
// status of the answer.
func brings(w *world.World, token string) int {
	tokens, err := w.Auth.Seed("greedy")
	if err != nil {
		w.Errorf("seeding greedy: %v", err)
		return 0
	}
	large := struct {
		world.Document
		Padding string
	}{world.DocumentOf("greedy", tokens), strings.Repeat("p", world.MiB/2)}
	return statusOf(w.Call(world.Call{Token: token, Patch: large}))
}

// opensLink has it make a link to connect an account, as long as it may, and open that.
func opensLink(w *world.World, token string) int {
	made, err := w.Call(world.Call{Method: http.MethodPost, Path: "/self/connect-link", Token: token, Body: "{}"})
	if statusOf(made, err) != http.StatusOK {
		return 0
	}
	var link struct{ URL string }
	if err := json.Unmarshal(made.Content, &link); err != nil {
		w.Errorf("the link: %v", err)
	}
	page, err := w.Send(w.Ctx, world.Request{Site: "connect.example", Path: strings.TrimPrefix(link.URL, "https://connect.example")})
	return statusOf(world.Answer{Response: page}, err)
}

func statusOf(a world.Answer, err error) int {
	if err != nil {
		return 0
	}
	return a.StatusCode
}

// recorded is how much is in the files without a name that the sidecar has open below dir.
func recorded(w *world.World, dir string) (bytes int64) {
	w.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", w.Caddy.Pid()))
	w.Check(err)
	for _, file := range files {
		if name, err := os.Readlink(file); err != nil || !strings.HasPrefix(name, dir) {
			continue
		}
		if info, err := os.Stat(file); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}
