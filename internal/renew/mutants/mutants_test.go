package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mutant is one edit of a file of package renew. What is edited occurs once in it.
type mutant struct {
	file    string
	breaks  string // what it breaks
	old     string
	changed string
}

// apply returns the file as the mutant has it.
func (m mutant) apply(t *testing.T) []byte {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%q occurs %d times in %s", m.old, n, m.file)
	}
	return []byte(strings.Replace(string(source), m.old, m.changed, 1))
}

func TestMutantsStandForTheCode(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.file+" "+m.breaks, func(t *testing.T) { m.apply(t) })
	}
}

// stages look for a mutant, the fastest first.
var stages = []struct{ what, pack, run string }{
	{"tests", "..", "."},
	{"scenes", "../simulation", "^Test([^S]|S[^e])"},
	{"seeds", "../simulation", "^TestSeeds$"},
}

func TestMutantsAreFound(t *testing.T) {
	if os.Getenv("MUTANTS") != "soak" {
		t.Skip("without MUTANTS=soak")
	}
	for _, m := range mutants {
		t.Run(m.file+" "+m.breaks, func(t *testing.T) {
			overlay := m.overlay(t)
			for _, stage := range stages {
				if by := find(t, overlay, stage.pack, stage.run); by != "" {
					t.Logf("found by %s: %s", stage.what, by)
					return
				}
			}
			t.Error("nobody finds it")
		})
	}
}

// overlay writes the mutant, and the file that has the go command use it.
func (m mutant) overlay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	original, err := filepath.Abs(filepath.Join("..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	mutated, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
	names, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{mutated: m.apply(t), overlay: names} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\w+)|^(panic: [^\n\[]*)|^(fatal error: .*)`)

// find runs the tests of a package, and returns what fails; empty if nothing does.
func find(t *testing.T, overlay, pack, run string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, ".")
	build.Dir = pack
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("it does not compile: %s", output)
	}
	test := exec.CommandContext(t.Context(), binary, "-test.run", run, "-test.failfast", "-test.timeout", "2m")
	test.Dir = pack
	test.Env = append(os.Environ(), "SIMULATION_SEEDS=3000", "SIMULATION_FAILURES=1")
	output, err := test.CombinedOutput()
	if err == nil {
		return ""
	}
	var by []string
	for _, found := range failed.FindAllStringSubmatch(string(output), -1) {
		by = append(by, found[1]+found[2]+found[3])
	}
	if len(by) == 0 {
		t.Fatalf("%v: %s", err, output)
	}
	return strings.Join(by, ", ")
}
