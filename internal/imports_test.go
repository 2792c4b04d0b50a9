// Package internal_test holds the packages to their places: imports point down.
package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/upstreamauth/caddy-upstream-auth/"

// layers are the packages of the product, the lowest first. One imports those of the
// layers below its own, and none beside it.
var layers = [][]string{
	{"internal/budget", "internal/hosts"},
	{"credential", "internal/renew/journal", "internal/tlsfiles", "internal/body"},
	{"scheme", "credential/storetest", "internal/template", "internal/bearer", "vaultstore", "localstore", "internal/links"},
	{"internal/tokenrequest", "internal/authorize", "internal/discovery", "internal/jwt", "internal/fields", "internal/form"},
	{"internal/oauth2", "internal/login", "internal/renew"},
	{"internal/upstream"},
	{"internal/proxy", "internal/lifecycle", "internal/connect"},
	{"internal/explain"},
	{"internal/rest", "internal/refreshlog"},
	{"caddymodule/config", "caddymodule/failure"},
	{"caddymodule/schemes", "caddymodule/stores"},
	{"caddymodule/api", "caddymodule/admin", "caddymodule/forward"},
	{"caddymodule"},
	{"cmd/caddy", "cmd/demo", "tools/coverage"},
}

// testPackages are not part of the product.
var testPackages = []string{
	"internal", "internal/body/bodytest", "internal/renew/journal/journaltest", "internal/renew/modelcheck", "internal/renew/mutants", "internal/renew/simulation",
	"vaultstore/vaulttest",
}

func layerOf(name string) int {
	return slices.IndexFunc(layers, func(layer []string) bool { return slices.Contains(layer, name) })
}

func TestImportsPointDown(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"...")
	list.Dir = ".."
	output, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for packages := json.NewDecoder(bytes.NewReader(output)); ; seen++ {
		var p struct {
			ImportPath string
			Dir        string
			GoFiles    []string
			Imports    []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, file := range p.GoFiles { // so that the result is not cached when one changes
			if _, err := os.ReadFile(filepath.Join(p.Dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		layer := layerOf(name)
		if slices.Contains(testPackages, name) {
			continue
		}
		if layer < 0 {
			t.Errorf("%s has no place in layers", name)
		}
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, module)
			if ours && layerOf(imported) >= layer {
				t.Errorf("%s imports %s, which is not below it", name, imported)
			}
			if strings.HasPrefix(path, "github.com/caddyserver/caddy") && !strings.HasPrefix(name, "caddymodule") && !strings.HasPrefix(name, "cmd/") && name != "tools/coverage" {
				t.Errorf("%s imports Caddy", name)
			}
		}
	}
	if seen < len(layers) {
		t.Errorf("only %d packages were looked at", seen)
	}
}
