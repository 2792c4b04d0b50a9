package main

import (
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestArguments(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"local plugin": {
			`{"caddy_version":"v2.1.0","plugins":[{"module_path":"example.com/a/m","version":""}],"replacements":[{"old":"example.com/a","new":"."}]}`,
			[]string{"build", "v2.1.0", "--output", "out", "--with", "example.com/a/m", "--replace", "example.com/a=."},
		},
		"published plugins": {
			`{"caddy_version":"v2.1.0","plugins":[{"module_path":"a.com/a","version":"v1.0.0"},{"module_path":"b.com/b","version":"v2.0.0"}]}`,
			[]string{"build", "v2.1.0", "--output", "out", "--with", "a.com/a@v1.0.0", "--with", "b.com/b@v2.0.0"},
		},
		"no plugins": {`{"caddy_version":"v2.1.0"}`, nil},
		"no version": {`{"plugins":[{"module_path":"a.com/a"}]}`, nil},
	} {
		var b build
		if err := json.Unmarshal([]byte(c.file), &b); err != nil {
			t.Fatal(err)
		}
		got, err := b.args("out")
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
}

func TestLenientProxy(t *testing.T) {
	for proxy, want := range map[string]string{
		"https://a.example,direct":        "https://a.example|off",
		"https://a.example|https://b,off": "https://a.example|https://b|off",
		"direct":                          "off",
	} {
		if got := lenient(proxy); got != want {
			t.Errorf("%s: got %s, want %s", proxy, got, want)
		}
	}
}

// Who has no modules yet and reaches no proxy is told so, by the real xcaddy.
func TestUnreachableProxyFailsTheBuild(t *testing.T) {
	path, err := exec.Command("go", "tool", "-n", "xcaddy").Output()
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, c := range map[string]struct {
		proxy string
		limit time.Duration
		want  string
	}{
		"refuses connections": {"http://127.0.0.1:1", time.Minute, "connection refused"},
		"never answers":       {"http://" + silent.Addr().String(), 2 * time.Second, "does it answer?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOMODCACHE", t.TempDir())
			t.Setenv("GOPROXY", c.proxy)
			t.Setenv("GOSUMDB", "off")
			ctx, cancel := context.WithTimeout(t.Context(), c.limit)
			defer cancel()
			var log strings.Builder
			began := time.Now()
			err := run(ctx, "../../xcaddy.json", strings.TrimSpace(string(path)), t.TempDir()+"/caddy", &log)
			if err == nil {
				t.Fatal("it was built")
			}
			if told := log.String() + err.Error(); !strings.Contains(told, c.want) || !strings.Contains(told, c.proxy) {
				t.Errorf("got %v\n%s\nwant %q and the proxy", err, log.String(), c.want)
			}
			if took := time.Since(began); took > c.limit+5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
