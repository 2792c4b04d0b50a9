package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asDemo in the environment makes the test binary the demo.
const asDemo = "DEMO_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asDemo) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestNarratesAndLeavesNothingBehind(t *testing.T) {
	cmd, home := demoProcess(t, "-once")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	text := stdout.String()
	for _, line := range []string{
		`1\. A request for globex`,
		`     app sent        GET, X-Tenant-ID: globex        no token`,
		`     API saw         GET with globex-access-1-\.\.\.    200`,
		`2\. A request for acme`,
		`     API saw         GET with acme-access-1-\.\.\.      401`,
		`     token endpoint  acme-refresh-1-\.\.\. spent        acme-refresh-2-\.\.\. issued`,
		`     API saw         GET with acme-access-2-\.\.\.      200`,
		`     API saw         POST with globex-access-1-\.\.\.   401, 160000 bytes, sha256 65493ccf\.\.\.`,
		`     API saw         POST with globex-access-2-\.\.\.   200, 160000 bytes, sha256 65493ccf\.\.\.`,
		`     API saw         GET with globex-access-2-\.\.\.    401, 20 times`,
		`     token endpoint  globex-refresh-2-\.\.\. spent      globex-refresh-3-\.\.\. issued`,
		`     app got         403 Forbidden                   Upstream-Auth-Error: tenant_unknown`,
		`     store holds     acme-access-2-\.\.\.               acme-refresh-2-\.\.\.`,
	} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(text) {
			t.Errorf("no line matches %q", line)
		}
	}
	if secret := regexp.MustCompile(`[A-Z2-7]{26}`).FindString(text); secret != "" {
		t.Errorf("a secret is shown: %s", secret)
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", stderr.String())
	}
	if t.Failed() {
		t.Log(text)
	}
	mustBeEmpty(t, home)
}

func TestStaysUpUntilInterrupted(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd, home := demoProcess(t)
			cmd.Stderr = os.Stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := &lineReader{t: t, scanner: bufio.NewScanner(stdout)}
			tryTheCommands(t, lines)

			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			lines.find(`^Stopping\.$`)
			if rest, err := io.ReadAll(stdout); err != nil || len(rest) > 0 {
				t.Errorf("then it said %q, error %v", rest, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			mustBeEmpty(t, home)
		})
	}
}

// tryTheCommands does what the invitation says, with what the reader then sees.
func tryTheCommands(t *testing.T, lines *lineReader) {
	t.Helper()
	get := lines.find(`curl -i -H 'X-Tenant-ID: acme' (\S+)$`)
	post := lines.find(`curl -i -H 'X-Tenant-ID: acme' -d 'amount=42' (\S+)$`)
	expire := lines.find(`curl -X POST '(\S+/expire\?tenant=acme)'`)
	reuse := lines.find(`curl -X POST '(\S+/reuse\?tenant=acme)'`)

	mustAnswer(t, "GET", get, "", 200)
	lines.find(`API saw +GET with acme-access-2-\.\.\. +200$`)

	mustAnswer(t, "POST", expire, "", 200)
	mustAnswer(t, "POST", post, "amount=42", 200)
	lines.find(`API saw +POST with acme-access-2-\.\.\. +401, 9 bytes`)
	lines.find(`token endpoint +acme-refresh-2-\.\.\. spent +acme-refresh-3-\.\.\. issued$`)
	lines.find(`API saw +POST with acme-access-3-\.\.\. +200, 9 bytes`)

	mustAnswer(t, "POST", reuse, "", 200)
	lines.find(`token endpoint +acme-refresh-2-\.\.\. again +refused, its grant is revoked now$`)
	// While the new tokens are on their way into the store, the sidecar asks for
	// no others, and so cannot know yet.
	deadline := time.Now().Add(20 * time.Second)
	for mustAnswer(t, "GET", get, "", 401) != "reauthorization_required" {
		if time.Now().After(deadline) {
			t.Fatal("no answer says that the grant is revoked")
		}
		time.Sleep(20 * time.Millisecond) // each fills the pipe that nobody reads now
	}
	lines.find(`API saw +GET with acme-access-3-\.\.\. +401$`)
	lines.find(`token endpoint +acme-refresh-3-\.\.\. +refused, its grant is revoked$`)
}

func TestWhatGoesOtherwiseIsAnError(t *testing.T) {
	tests := map[string]struct {
		sabotage func(*demo)
		want     string
	}{
		"a good token has expired": {func(d *demo) { d.auth.expire("globex") }, "step 1: it did not go as it should"},
		"a grant is revoked": {func(d *demo) {
			stale, _ := d.auth.redeemCurrent("acme")
			d.auth.redeem(stale)
		}, "step 2: it did not go as it should"},
		"the API is gone": {func(d *demo) { _ = d.servers[1].Close() }, "step 1: it did not go as it should"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			var out strings.Builder
			d, err := start(t.Context(), &out)
			if err != nil {
				t.Fatal(err)
			}
			test.sabotage(d)
			d.events.take()
			if err := d.narrate(t.Context()); err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if !strings.Contains(out.String(), "This is not as it should be:") {
				t.Errorf("it says:\n%s", out.String())
			}
			if err := d.close(); err != nil {
				t.Error(err)
			}
			mustBeEmpty(t, os.Getenv("TMPDIR"))
		})
	}
}

// redeemCurrent spends a tenant's refresh token as a thief would, and returns it.
func (s *authServer) redeemCurrent(tenant string) (spent string, ok bool) {
	s.mu.Lock()
	spent = s.grants[tenant].refresh.value
	s.mu.Unlock()
	_, _, ok = s.redeem(spent)
	return spent, ok
}

func TestInterruptedIsNoError(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	out := writerFunc(func(p []byte) {
		if bytes.Contains(p, []byte("2. ")) {
			cancel()
		}
	})
	if err := run(ctx, out, true); err != nil {
		t.Error(err)
	}
	if ctx.Err() == nil {
		t.Error("it never came to the second step")
	}
	mustBeEmpty(t, os.Getenv("TMPDIR"))
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// demoProcess prepares the demo as a process with a home of its own, where its
// temporary files go too. It is killed after a minute, if not before.
func demoProcess(t *testing.T, args ...string) (cmd *exec.Cmd, home string) {
	t.Helper()
	home = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir = home
	cmd.Env = []string{asDemo + "=1", "HOME=" + home, "TMPDIR=" + home, "PATH=" + os.Getenv("PATH")}
	return cmd, home
}

func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("left behind: %s", entry.Name())
	}
}

// mustAnswer makes a request for acme and returns the answer's Upstream-Auth-Error.
func mustAnswer(t *testing.T, method, url, body string, status int) (code string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Tenant-ID", "acme")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	code = res.Header.Get("Upstream-Auth-Error")
	if res.StatusCode != status || status == http.StatusOK && code != "" {
		t.Errorf("%s %s: %s, Upstream-Auth-Error %q", method, url, res.Status, code)
	}
	return code
}

// lineReader reads what the demo says. The demo's own deadline ends its waiting.
type lineReader struct {
	t       *testing.T
	scanner *bufio.Scanner
	said    strings.Builder
}

// find skips to the next line that matches and returns the pattern's first group.
func (l *lineReader) find(pattern string) string {
	l.t.Helper()
	re := regexp.MustCompile(pattern)
	for l.scanner.Scan() {
		l.said.WriteString(l.scanner.Text() + "\n")
		if match := re.FindStringSubmatch(l.scanner.Text()); len(match) > 1 {
			return match[1]
		} else if match != nil {
			return ""
		}
	}
	l.t.Fatalf("the demo ended without a line that matches %q. It said:\n%s", pattern, l.said.String())
	return ""
}
