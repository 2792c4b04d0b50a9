package explain

import (
	"context"
	"errors"
	"fmt"
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
			{Name: "hanging", Look: func(context.Context) []credential.Finding { <-end; return nil }},
			{Name: "interrupted", Look: func(ctx context.Context) []credential.Finding {
				<-ctx.Done()
				return []credential.Finding{{Check: "interrupted", Detail: "no answer"}}
			}},
			{Name: "quick", Look: func(context.Context) []credential.Finding { return []credential.Finding{{Check: "quick", OK: true}} }},
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

func TestJournalThatIsOpenToOthers(t *testing.T) {
	for name, c := range map[string]struct {
		dir, file os.FileMode
		want      string // empty: nothing
	}{
		"for its owner alone":            {0o700, 0o600, ""},
		"names that can be seen":         {0o755, 0o600, ""},
		"a directory for everybody":      {0o777, 0o600, "it has mode 0777"},
		"a directory for the group":      {0o770, 0o600, "it has mode 0770"},
		"a journal that others can read": {0o700, 0o644, "0123456789abcdef0123456789abcdef.journal has mode 0644"},
	} {
		dir := t.TempDir()
		file := dir + "/0123456789abcdef0123456789abcdef.journal"
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(file, c.file), os.Chmod(dir, c.dir)); err != nil {
			t.Fatal(err)
		}
		if f := examineJournal(dir); f.OK != (c.want == "") || !strings.Contains(f.Detail, c.want) || f.OK != (f.Remedy == "") {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func TestSecretFileThatIsOpenToOthers(t *testing.T) {
	file := t.TempDir() + "/secret"
	if found := Private("the secret", file).Look(t.Context()); len(found) > 0 {
		t.Errorf("absent: got %+v", found)
	}
	if err := os.WriteFile(file, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, open := range map[os.FileMode]bool{0o400: false, 0o600: false, 0o640: false, 0o644: true, 0o604: true, 0o660: true, 0o666: true} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		found := Private("the secret", file).Look(t.Context())
		if open != (len(found) == 1) || open && (found[0].OK || !strings.Contains(found[0].Detail, fmt.Sprintf("%04o", mode)) || found[0].Remedy == "") {
			t.Errorf("%04o: got %+v", mode, found)
		}
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
