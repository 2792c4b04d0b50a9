package sdk

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The lock says which packages are installed, byte for byte, and not from where.
func TestLock(t *testing.T) {
	var lock struct {
		Packages map[string]struct{ Version, Resolved, Integrity string }
	}
	content, err := os.ReadFile(filepath.Join(dir(), "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &lock); err != nil {
		t.Fatal(err)
	}
	for name, p := range lock.Packages {
		if p.Resolved != "" || name != "" && p.Integrity == "" {
			t.Errorf("%q: %+v", name, p)
		}
	}
	for name, version := range map[string]string{IntegrationApp.Name: "1.14.1", Membrane.Name: "0.28.3", "oidc-provider": "9.13.3"} {
		if got := lock.Packages["node_modules/"+name].Version; got != version {
			t.Errorf("%s %q", name, got)
		}
	}
}
