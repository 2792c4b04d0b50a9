package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Caddy is a running Caddy. It can be started again when it has ended.
type Caddy struct {
	*Process
	Dir     string // its working, data and configuration directory
	Admin   string // address of its admin endpoint
	Address string // of the listener that it has as file descriptor 3

	path   string
	past   []byte // what the processes before this one have written
	client *http.Client
}

// NewCaddy prepares to start the Caddy at path, with its files in dir.
func NewCaddy(path, dir string) (*Caddy, error) {
	admin, err := FreeAddress()
	return &Caddy{
		Dir: dir, Admin: admin, path: path,
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}, err
}

// Start starts Caddy with a Caddyfile whose admin endpoint is at c.Admin, and
// returns when it serves. Its sites bind to fd/3, a listener on a free port of
// the loopback interface, the same at each start: unlike one that Caddy opens
// itself, it loses no connection that waits to be accepted while the configuration
// changes.
func (c *Caddy) Start(ctx context.Context, caddyfile string, env ...string) error {
	file, err := c.write(caddyfile)
	if err != nil {
		return err
	}
	if c.Address == "" {
		if c.Address, err = FreeAddress(); err != nil {
			return err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Address)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer socket.Close()

	if c.Process != nil {
		c.past = c.Output()
	}
	c.Process, err = Start(Command{
		Path: c.path, Args: []string{"run", "--config", file, "--adapter", "caddyfile"},
		Dir: c.Dir, Env: append(c.environment(), env...), Files: []*os.File{socket},
	})
	if err != nil {
		return fmt.Errorf("starting caddy: %w", err)
	}
	err = c.Await(ctx, func(ctx context.Context) error {
		_, err := c.Get(ctx, "/config/")
		return err
	})
	if err != nil {
		c.Kill()
		return fmt.Errorf("starting caddy: %w", err)
	}
	return nil
}

// Output is what this process and those before it have written so far.
func (c *Caddy) Output() []byte { return append(bytes.Clone(c.past), c.Process.Output()...) }

// environment keeps Caddy's files together, and lets a race build go on after a
// report, so that there is one for each race.
func (c *Caddy) environment() []string {
	return []string{
		"HOME=" + c.Dir, "TMPDIR=" + c.Dir, "XDG_DATA_HOME=" + filepath.Join(c.Dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(c.Dir, "config"),
		"GORACE=halt_on_error=0",
	}
}

func (c *Caddy) write(caddyfile string) (string, error) {
	file := filepath.Join(c.Dir, "Caddyfile")
	return file, os.WriteFile(file, []byte(caddyfile), 0o600)
}

// Get returns the answer of the admin endpoint at path. Another status than 200
// is an error.
func (c *Caddy) Get(ctx context.Context, path string) ([]byte, error) {
	return c.admin(ctx, http.MethodGet, path, "", "")
}

// Load has the admin endpoint load a Caddyfile, also the one that runs already.
func (c *Caddy) Load(ctx context.Context, caddyfile string) error {
	_, err := c.admin(ctx, http.MethodPost, "/load", "text/caddyfile", caddyfile)
	return err
}

// Reload is `caddy reload --force`.
func (c *Caddy) Reload(ctx context.Context, caddyfile string) error {
	file, err := c.write(caddyfile)
	if err != nil {
		return err
	}
	reload := exec.CommandContext(ctx, c.path, "reload", "--force", "--address", c.Admin, "--config", file, "--adapter", "caddyfile")
	reload.Dir = c.Dir
	reload.Env = append(os.Environ(), c.environment()...)
	if output, err := reload.CombinedOutput(); err != nil {
		return fmt.Errorf("caddy reload: %w\n%s", err, output)
	}
	return nil
}

// Command is `caddy upstream-auth` with arguments, for this Caddy. Its output comes
// with an error, too.
func (c *Caddy) Command(ctx context.Context, stdin string, args ...string) (stdout, stderr []byte, err error) {
	command := exec.CommandContext(ctx, c.path, append(append([]string{"upstream-auth"}, args...), "--address", c.Admin)...)
	command.Dir = c.Dir
	command.Env = append(os.Environ(), c.environment()...)
	command.Stdin = strings.NewReader(stdin)
	var out, other bytes.Buffer
	command.Stdout, command.Stderr = &out, &other
	err = command.Run()
	return out.Bytes(), other.Bytes(), err
}

// Traces returns all that Caddy leaves behind, by what it is: its output, the
// files below its directory, and what the admin endpoint says. The Caddyfile is
// not among it.
func (c *Caddy) Traces(ctx context.Context) (map[string][]byte, error) {
	traces := map[string][]byte{"output": c.Output()}
	for _, path := range []string{"/config/", "/metrics", "/reverse_proxy/upstreams", "/debug/vars", "/debug/pprof/goroutine?debug=2"} {
		answer, err := c.admin(ctx, http.MethodGet, path, "", "")
		if err != nil && answer == nil {
			return nil, err
		}
		traces["admin "+path] = answer
	}
	return traces, addFiles(traces, c.Dir)
}

func addFiles(traces map[string][]byte, dir string) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "Caddyfile" {
			return err
		}
		content, err := os.ReadFile(path)
		traces[strings.TrimPrefix(path, dir+string(filepath.Separator))] = content
		return err
	})
}

// admin returns the answer's body even where its status makes it an error.
func (c *Caddy) admin(ctx context.Context, method, path, contentType, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Admin+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Cache-Control", "must-revalidate") // load it even if nothing changed
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(answer))
	}
	return answer, err
}
