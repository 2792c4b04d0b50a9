package explain

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// What hangs does not keep the rest from being told.
func TestDoctorDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		found := Run(t.Context(), []Check{
			{"hanging", func(context.Context) []credential.Finding { <-end; return nil }},
			{"interrupted", func(ctx context.Context) []credential.Finding {
				<-ctx.Done()
				return []credential.Finding{{Check: "interrupted", Detail: "no answer"}}
			}},
			{"quick", func(context.Context) []credential.Finding { return []credential.Finding{{Check: "quick", OK: true}} }},
		})
		close(end)
		var got []string
		for _, f := range found.Findings {
			got = append(got, f.Check+": "+f.Detail)
		}
		if want := "hanging: there was no answer within 10s; interrupted: no answer; quick: "; strings.Join(got, "; ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestExaminedJournal(t *testing.T) {
	dir := t.TempDir()
	if f := examineJournal(dir); !f.OK {
		t.Errorf("got %+v", f)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := examineJournal(dir + "/file/journal"); f.OK || !strings.Contains(f.Remedy, "journal") {
		t.Errorf("below a file: got %+v", f)
	}
}

func TestReachedThroughAProxy(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	// The proxies that the environment names are read once in a process, so this one
	// is not the environment's.
	through, err := reach(t.Context(), "https://as.example/token", nil, func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: listener.Addr().String()}, nil
	})
	if err != nil || through != " (as far as the proxy "+listener.Addr().String()+")" {
		t.Errorf("got %q, %v", through, err)
	}
}
