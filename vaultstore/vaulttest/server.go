package vaulttest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// startTimeout is how long a server may take to start.
const startTimeout = 60 * time.Second

// Options of [Start].
type Options struct {
	// RootToken is the root token. Default: "root".
	RootToken string

	// DataDir is where the server keeps its data. Default: a directory that is
	// removed when the test ends. A server from $VAULT_BIN keeps it in memory.
	DataDir string
}

// Server is a running Vault, unsealed, with KV version 2 at secret/. Its methods
// end the test when they fail. They are not safe for concurrent use.
type Server struct {
	// Address is its URL. It stays the same over a restart.
	Address string

	// RootToken and UnsealKey are its keys.
	RootToken, UnsealKey string

	t         testing.TB
	options   Options
	program   binary
	process   *exec.Cmd
	output    *tail
	scanned   chan struct{} // closed when the process's output has ended
	transport *http.Transport
}

// Start starts a Vault that is killed when the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	program, err := findBinary()
	if err != nil {
		t.Fatalf("vaulttest: %v", err)
	}
	if o.RootToken == "" {
		o.RootToken = "root"
	}
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	s := &Server{t: t, options: o, program: program, transport: &http.Transport{}}
	t.Cleanup(func() {
		s.Kill()
		s.transport.CloseIdleConnections()
	})
	// Between finding a free port and taking it somebody else may take it.
	for range 5 {
		if err = s.start(freeAddress(t)); err == nil {
			return s
		}
	}
	t.Fatalf("vaulttest: %v", err)
	return nil
}

// Ports are taken below the range from which Linux takes the local ports of
// outgoing connections: none of these can take one from a server that is down.
const (
	firstPort = 10000
	portCount = 10000
)

func freeAddress(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(portCount))
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	t.Fatalf("vaulttest: %v", err)
	return ""
}

// start runs the program and returns when it says that it is ready.
func (s *Server) start(address string) error {
	args := []string{"server", "-dev", "-dev-no-store-token", "-dev-listen-address=" + address, "-dev-root-token-id=" + s.options.RootToken}
	if s.program.persistent {
		args = append(args, "-data-dir="+s.options.DataDir)
	}
	s.process = exec.Command(s.program.path, args...)
	s.process.Env = environment()
	s.output = &tail{}
	s.process.Stderr = s.output
	stdout, err := s.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.process.Start(); err != nil {
		s.process = nil
		return err
	}

	ready := make(chan struct{})
	s.scanned = make(chan struct{})
	go s.scan(stdout, ready)
	select {
	case <-ready:
		s.Address = "http://" + address
		return nil
	case <-s.scanned:
	case <-time.After(startTimeout):
	}
	s.Kill()
	return fmt.Errorf("%s %s did not start:\n%s", s.program.path, strings.Join(args, " "), s.output)
}

// scan reads the keys from the program's output, and all the rest.
func (s *Server) scan(stdout io.Reader, ready chan<- struct{}) {
	defer close(s.scanned)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch strings.TrimSpace(name) {
		case "Unseal Key":
			s.UnsealKey = strings.TrimSpace(value)
		case "Root Token":
			s.RootToken = strings.TrimSpace(value)
			close(ready) // it is the last line of its kind
			_, _ = io.Copy(io.Discard, stdout)
			return
		}
	}
}

// environment is ours without what would configure the server.
func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "VAULT_") && !strings.HasPrefix(variable, "BAO_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// Client returns a new client with the root token.
func (s *Server) Client() *api.Client {
	s.t.Helper()
	client, err := api.NewClient(&api.Config{
		Address:    s.Address,
		HttpClient: &http.Client{Transport: s.transport, Timeout: startTimeout},
	})
	if err != nil {
		s.t.Fatalf("vaulttest: %v", err)
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.SetToken(s.RootToken)
	return client
}

// Kill ends the server as a crash would. Killing it again does nothing.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	<-s.scanned
	_ = s.process.Wait()
	s.process = nil
}

// Restart kills the server if it runs, and starts it at the same address with the
// same data and keys. With $VAULT_BIN, whose data would be gone, it skips the test.
func (s *Server) Restart() {
	s.t.Helper()
	if !s.program.persistent {
		s.t.Skip("vaulttest: the server of $VAULT_BIN does not keep its data over a restart")
	}
	s.Kill()
	if err := s.start(strings.TrimPrefix(s.Address, "http://")); err != nil {
		s.t.Fatalf("vaulttest: %v", err)
	}
}

// Seal seals the server.
func (s *Server) Seal() {
	s.t.Helper()
	if err := s.Client().Sys().Seal(); err != nil {
		s.t.Fatalf("vaulttest: sealing: %v\n%s", err, s.output)
	}
}

// Unseal unseals the server, and returns when it answers requests again.
func (s *Server) Unseal() {
	s.t.Helper()
	client := s.Client()
	status, err := client.Sys().Unseal(s.UnsealKey)
	if err != nil || status.Sealed {
		s.t.Fatalf("vaulttest: unsealing: %v\n%s", err, s.output)
	}
	deadline := time.Now().Add(startTimeout)
	for {
		_, err := client.Auth().Token().LookupSelf()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("vaulttest: not answering after unsealing: %v\n%s", err, s.output)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	end []byte
}

const tailLength = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	if cut := len(t.end) - tailLength; cut > 0 {
		t.end = bytes.Clone(t.end[cut:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.end)
}
