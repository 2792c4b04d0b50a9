package tokenrequest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// stopped is a process that makes one token request, and can be stopped in it.
type stopped struct {
	t       *testing.T
	process *os.Process
	in      io.WriteCloser
	out     *bufio.Scanner
}

// limits of the process's request, from when it is connected.
const childSend, childListen = 400 * time.Millisecond, 800 * time.Millisecond

const childEndpoint = "TOKENREQUEST_TEST_ENDPOINT"

// TestTokenRequestOfAProcess is what that process does.
func TestTokenRequestOfAProcess(t *testing.T) {
	endpoint := os.Getenv(childEndpoint)
	if endpoint == "" {
		t.Skip("for a process of its own")
	}
	conn, err := direct().Dial(t.Context(), endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	limits := tokenrequest.Limits{Start: time.Now(), Send: childSend, Listen: childListen}
	os.Stdout.WriteString("\nconnected\n")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	r, err := conn.Send(t.Context(), refreshRequest(t, endpoint, 0), limits)
	report := map[string]any{}
	if err != nil {
		report["error"], report["meaning"] = problem(t, err).Reason, flags(problem(t, err))
	} else {
		report["body"], report["cut"] = strings.TrimSpace(string(r.Body)), r.Truncated
	}
	line, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("\nreport " + string(line) + "\n")
}

// startProcess returns when the process is connected to endpoint.
func startProcess(t *testing.T, endpoint string) *stopped {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), self, "-test.run=^TestTokenRequestOfAProcess$", "-test.timeout=1m")
	command.Env = append(os.Environ(), childEndpoint+"="+endpoint)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	s := &stopped{t, command.Process, in, bufio.NewScanner(out)}
	s.line("connected")
	return s
}

// line reads to the line that begins with prefix, and returns what follows.
func (s *stopped) line(prefix string) string {
	s.t.Helper()
	for s.out.Scan() {
		if rest, ok := strings.CutPrefix(s.out.Text(), prefix); ok {
			return rest
		}
	}
	s.t.Fatalf("the process ended without %s", prefix)
	return ""
}

func (s *stopped) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	if signal != syscall.SIGSTOP {
		return
	}
	// It may run on for a while on another processor.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Pid))
		_, state, _ := strings.Cut(string(status), ") ")
		if err == nil && strings.HasPrefix(state, "T") {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the process is not stopped: %s, %v", status, err)
		}
	}
}

// send lets the process send its request.
func (s *stopped) send() {
	s.t.Helper()
	if _, err := io.WriteString(s.in, "\n"); err != nil {
		s.t.Fatal(err)
	}
}

func TestAProcessStoppedBetweenConnectingAndSending(t *testing.T) {
	p := newPeer(t, false)
	taken := p.accept()
	s := startProcess(t, p.url)
	other := <-taken
	s.signal(syscall.SIGSTOP)
	s.send()
	<-time.After(childSend + 100*time.Millisecond)
	s.signal(syscall.SIGCONT)
	if got := s.line("report "); got != `{"error":"the request was not sent","meaning":"unspent"}` {
		t.Errorf("got %s", got)
	}
	wantNothing(t, other)
}

func TestAProcessStoppedWhileItListens(t *testing.T) {
	// It takes a while to read.
	long := strings.Repeat(" ", 400<<10) + granted
	for name, text := range map[string]string{
		"whose answer came meanwhile": fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long),
		"whose answer did not":        "",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, false)
			taken := p.accept()
			s := startProcess(t, p.url)
			other := <-taken
			s.send()
			if _, err := http.ReadRequest(bufio.NewReader(other)); err != nil {
				t.Fatal(err)
			}
			s.signal(syscall.SIGSTOP)
			go io.WriteString(other, text)
			<-time.After(childListen + 500*time.Millisecond) // well past its deadline
			s.signal(syscall.SIGCONT)
			want := `{"error":"no answer in time","meaning":"no response"}`
			if text != "" {
				want = `"cut":false}`
			}
			if got := s.line("report "); !strings.HasSuffix(got, want) || strings.Contains(got, "canary-r2") != (text != "") {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
