package browser

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a page with a form, whose answer greets and sets a cookie.
func site(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `<!DOCTYPE html><title>Who?</title><form method="post" action="/greet">
			<label for="name">Name</label><input id="name" name="name" value="nobody"><button id="send">Send</button></form>
			<button id="later" type="button" onclick="setTimeout(() => { document.title = 'Later' }, 50)">Later</button>`)
	})
	mux.HandleFunc("POST /greet", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "__Host-name", Value: r.PostFormValue("name"), Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
		http.Redirect(w, r, "/hello", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("__Host-name")
		if err != nil {
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		_, _ = fmt.Fprintf(w, `<!DOCTYPE html><title>Hello</title><h1>Hello, %s</h1>`, html.EscapeString(cookie.Value))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func begin(ctx context.Context, t *testing.T) *Browser {
	t.Helper()
	b, err := Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func page(ctx context.Context, t *testing.T, b *Browser) *Page {
	t.Helper()
	p, err := b.NewPage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestPersonWithAForm(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address, b := site(t), begin(ctx, t)
	p := page(ctx, t, b)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	status, err := p.Navigate(ctx, address)
	if check(err); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	check(p.Click(ctx, "#later"))
	check(p.Await(ctx, `document.title === "Later"`))
	if title, err := p.Title(ctx); err != nil || title != "Later" {
		t.Errorf("title %q, %v", title, err)
	}
	check(p.Fill(ctx, "#name", "Ada <3"))
	status, err = p.Submit(ctx, "#send")
	if check(err); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if text, err := p.Text(ctx, "h1"); err != nil || text != "Hello, Ada <3" {
		t.Errorf("text %q, %v", text, err)
	}
	if url, err := p.URL(ctx); err != nil || url != address+"/hello" {
		t.Errorf("address %q, %v", url, err)
	}
	cookies, err := p.Cookies(ctx)
	check(err)
	if len(cookies) != 1 || cookies[0].Name != "__Host-name" || !cookies[0].HTTPOnly || !cookies[0].Secure {
		t.Errorf("cookies: %+v", cookies)
	}
	if image, err := p.Screenshot(ctx); err != nil || !strings.HasPrefix(string(image), "\x89PNG") {
		t.Errorf("a picture of %d bytes, %v", len(image), err)
	}

	tab, err := p.NewTab(ctx)
	check(err)
	if status, err := tab.Navigate(ctx, address+"/hello"); err != nil || status != http.StatusOK {
		t.Errorf("the same person in another tab: %d, %v", status, err)
	}
	tab.Close()
	stranger := page(ctx, t, b)
	if status, err := stranger.Navigate(ctx, address+"/hello"); err != nil || status != http.StatusForbidden {
		t.Errorf("another person: %d, %v", status, err)
	}
	if _, err := p.Navigate(ctx, "http://127.0.0.1:1/"); err == nil {
		t.Error("a page that nobody serves was loaded")
	}
}

func TestEvalAwaitsAndFails(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address, b := site(t), begin(ctx, t)
	p := page(ctx, t, b)
	if _, err := p.Navigate(ctx, address); err != nil {
		t.Fatal(err)
	}
	var got struct{ Status int }
	if err := p.Eval(ctx, `fetch("/hello").then(r => ({status: r.status}))`, &got); err != nil || got.Status != http.StatusForbidden {
		t.Errorf("%+v, %v", got, err)
	}
	if err := p.Eval(ctx, `Promise.reject(new Error("not today"))`, nil); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("%v", err)
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if err := p.Await(short, `false`); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := p.Click(short, "#absent"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if title, err := p.Title(ctx); err != nil || title != "Who?" {
		t.Errorf("after a deadline: %q, %v", title, err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	b, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.NewPage(t.Context()); err != nil {
		t.Error(err)
	}
	if len(processesOf(t, dir)) == 0 {
		t.Error("this test sees no processes of a browser that runs")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if left := processesOf(t, dir); len(left) != 0 {
		t.Errorf("processes: %q", left)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("files: %v, %v", files, err)
	}
}

// processesOf returns the command lines that name dir.
func processesOf(t *testing.T, dir string) (lines []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), dir) {
			lines = append(lines, string(line))
		}
	}
	return lines
}

func TestChromiumThatCannotBeHad(t *testing.T) {
	t.Setenv("CHROMIUM_BIN", filepath.Join(t.TempDir(), "chromium"))
	if b, err := Start(t.Context()); err == nil {
		t.Error("started what is not there", b.Close())
	}
	t.Setenv("CHROMIUM_BIN", "/bin/false")
	if b, err := Start(t.Context()); err == nil {
		t.Error("started what is no browser", b.Close())
	}
	t.Setenv("CHROMIUM_BIN", "")
	t.Setenv("PATH", "")
	if b, err := Start(t.Context()); err == nil {
		t.Error("started nothing", b.Close())
	}
}
