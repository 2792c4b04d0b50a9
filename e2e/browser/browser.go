// Package browser drives a real Chromium without a window, by chromedp, for tests of
// what people see and of what pages may do.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
)

// flags are for tests as root, and on machines that reach no network: nothing but
// the pages of the test is loaded.
var flags = []string{
	"headless=new", "no-sandbox", "disable-gpu", "disable-quic", "disable-dev-shm-usage", "no-first-run", "no-default-browser-check",
	"disable-background-networking", "disable-component-update", "disable-default-apps", "disable-extensions", "disable-sync",
}

// Browser is a running Chromium with a profile of its own.
type Browser struct {
	ctx    context.Context // chromedp finds the browser in it
	cancel context.CancelFunc
	home   string
}

// Start starts the Chromium that the environment variable CHROMIUM_BIN names, by
// default the first of chromium, chromium-browser and google-chrome in PATH. Further
// flags are written without dashes: "ignore-certificate-errors", "lang=de".
func Start(ctx context.Context, more ...string) (*Browser, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	b := new(Browser)
	if b.home, err = os.MkdirTemp("", "browser-home"); err != nil {
		return nil, err
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.Env(
		"HOME="+b.home, "XDG_CONFIG_HOME="+b.home, "XDG_CACHE_HOME="+b.home, "XDG_DATA_HOME="+b.home,
	)}
	for _, flag := range slices.Concat(flags, more) {
		if name, value, ok := strings.Cut(flag, "="); ok {
			options = append(options, chromedp.Flag(name, value))
		} else {
			options = append(options, chromedp.Flag(name, true))
		}
	}
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.WithoutCancel(ctx), options...)
	browser, cancelBrowser := chromedp.NewContext(allocator)
	b.ctx, b.cancel = browser, func() { cancelBrowser(); cancelAllocator() }

	// The first call starts the browser, which lives as long as its context.
	stop := context.AfterFunc(ctx, b.cancel)
	err = chromedp.Do(b.ctx)
	if !stop() {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		b.cancel()
		return nil, errors.Join(fmt.Errorf("starting %s: %w", path, err), os.RemoveAll(b.home))
	}
	return b, nil
}

func program() (path string, err error) {
	if path = os.Getenv("CHROMIUM_BIN"); path != "" {
		return exec.LookPath(path)
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium in PATH, and CHROMIUM_BIN names none")
}

// Close ends the browser and removes its files. It asks first, and kills it after ten
// seconds.
func (b *Browser) Close() error {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	err := chromedp.Cancel(ctx)
	b.cancel()
	return errors.Join(err, os.RemoveAll(b.home))
}

// NewPage opens an empty page for another person: it shares no cookies and no
// storage with the other pages.
func (b *Browser) NewPage(ctx context.Context) (*Page, error) {
	return open(ctx, b.ctx, chromedp.WithNewBrowserContext())
}

// NewTab opens another empty page for the person whose page p is. It is closed with
// p, or before.
func (p *Page) NewTab(ctx context.Context) (*Page, error) { return open(ctx, p.ctx) }

func open(ctx, parent context.Context, options ...chromedp.ContextOption) (*Page, error) {
	p := new(Page)
	p.ctx, p.cancel = chromedp.NewContext(parent, options...)
	stop := context.AfterFunc(ctx, p.cancel)
	err := chromedp.Do(p.ctx)
	if !stop() {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		p.cancel()
		return nil, fmt.Errorf("opening a page: %w", err)
	}
	return p, nil
}
