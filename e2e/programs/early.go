package programs

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// The servers below refuse the first attempt at a request with a 401, without reading
// its body, and close; the second one is answered with the body's SHA-256.

// StartGunicorn starts gunicorn with its usual workers, four of them.
func StartGunicorn(t *testing.T) (address string) {
	t.Helper()
	return start(t, func(address string) process.Command {
		return process.Command{
			Path: "gunicorn", Args: []string{"--workers", "4", "--bind", address, "early:application"},
			Dir: filepath.Dir(Source("early.py")), Env: []string{"SEEN=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1"},
		}
	})
}

// StartPythonServer starts http.server of Python's own library.
func StartPythonServer(t *testing.T) (address string) {
	t.Helper()
	return start(t, func(address string) process.Command {
		return process.Command{Path: "python3", Args: []string{Source("early.py"), portOf(address)}, Env: []string{"SEEN=" + t.TempDir()}}
	})
}

// StartJDKServer starts com.sun.net.httpserver of the JDK.
func StartJDKServer(t *testing.T) (address string) {
	t.Helper()
	return start(t, func(address string) process.Command {
		return process.Command{Path: "java", Args: []string{Source("Early.java"), portOf(address)}}
	})
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
