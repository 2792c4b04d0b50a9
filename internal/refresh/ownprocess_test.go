package refresh

import (
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// inOwnProcess runs a test in a process of its own.
func inOwnProcess(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	const mark = "REFRESH_TEST_OWN_PROCESS"
	if os.Getenv(mark) == t.Name() {
		test(t)
		return
	}
	command := ownProcess(t, "^"+t.Name()+"$")
	command.Env = append(os.Environ(), mark+"="+t.Name())
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

// trust makes this process trust a certificate, and no other. It has to be called
// before the first certificate is looked at.
func trust(t *testing.T, der []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
}

// ownProcess runs tests of this binary.
func ownProcess(t *testing.T, tests string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), self, "-test.run="+tests, "-test.count=1", "-test.v", "-test.timeout=1m")
}
