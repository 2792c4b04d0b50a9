package main

import (
	"encoding/json"
	"slices"
	"testing"
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
