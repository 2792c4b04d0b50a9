package main

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"
)

// The build of users and the one of tests are of one Caddy.
func TestXcaddyBuildAgreesWithGoMod(t *testing.T) {
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string {
		t.Helper()
		match := regexp.MustCompile(`(?m)^` + pattern + `$`).FindSubmatch(gomod)
		if match == nil {
			t.Fatalf("go.mod has no line like %s", pattern)
		}
		return string(match[1])
	}
	module := find(`module (\S+)`)
	caddy := find(`\s*github\.com/caddyserver/caddy/v2 (\S+)`)
	if other := caddyOf(t, "../../examples/ownschemes/xcaddy.json"); other != caddy {
		t.Errorf("the xcaddy.json of examples/ownschemes builds Caddy %s, go.mod has %s", other, caddy)
	}

	text, err := os.ReadFile("../../xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	var build struct {
		CaddyVersion string `json:"caddy_version"`
		Plugins      []struct {
			ModulePath string `json:"module_path"`
		} `json:"plugins"`
		Replacements []struct{ Old, New string } `json:"replacements"`
	}
	if err := json.Unmarshal(text, &build); err != nil {
		t.Fatal(err)
	}
	if build.CaddyVersion != caddy {
		t.Errorf("xcaddy.json builds Caddy %s, go.mod has %s", build.CaddyVersion, caddy)
	}
	if len(build.Plugins) != 1 || build.Plugins[0].ModulePath != module+"/caddymodule" {
		t.Errorf("xcaddy.json's plugins are %+v, want %s/caddymodule", build.Plugins, module)
	}
	if len(build.Replacements) != 1 || build.Replacements[0].Old != module || build.Replacements[0].New != "." {
		t.Errorf("xcaddy.json's replacements are %+v, want %s by this directory", build.Replacements, module)
	}
}

// caddyOf returns the version of Caddy that an xcaddy.json builds.
func caddyOf(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var build struct {
		CaddyVersion string `json:"caddy_version"`
	}
	if err := json.Unmarshal(text, &build); err != nil {
		t.Fatal(err)
	}
	return build.CaddyVersion
}
