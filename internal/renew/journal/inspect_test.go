//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package journal

import (
	"os"
	"path/filepath"
	"testing"
)

func TestInspectMakesTheDirectoryAndLeavesNothingInIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "below", "journal")
	system, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if system.Remote {
		t.Errorf("a temporary directory is said to be another machine's: %+v", system)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("the directory has %v, %v", entries, err)
	}
}

func TestInspectFindsWhatIsInTheWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a file": file, "below a file": filepath.Join(file, "journal")} {
		if _, err := Inspect(dir); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
