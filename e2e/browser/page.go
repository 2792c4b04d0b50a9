package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// Page is one page of a browser. Elements are named by CSS selectors; what is
// done to one waits until it is there. It is for one goroutine at a time.
type Page struct {
	ctx    context.Context // chromedp finds the page in it
	cancel context.CancelFunc
}

// Close closes the page and forgets its cookies.
func (p *Page) Close() { p.cancel() }

// Navigate goes to an address, waits until the page is loaded, and returns its HTTP
// status. Redirects are followed.
func (p *Page) Navigate(ctx context.Context, address string) (status int, err error) {
	return statusOf(run(ctx, p, chromedp.NavigateResponse(address)))
}

// Submit clicks a button or link that leads to another page, waits until that is
// loaded, and returns its HTTP status. Redirects are followed.
func (p *Page) Submit(ctx context.Context, selector string) (status int, err error) {
	return statusOf(run(ctx, p, func(ctx context.Context, _ *chromedp.Target) (*network.Response, error) {
		return chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	}))
}

func statusOf(response *network.Response, err error) (int, error) {
	switch {
	case err != nil:
		return 0, err
	case response == nil:
		return 0, errors.New("the page came without an HTTP response")
	default:
		return int(response.Status), nil
	}
}

// Fill replaces what is in a field by what is typed.
func (p *Page) Fill(ctx context.Context, selector, text string) error {
	return p.do(ctx, chromedp.Clear(chromedp.CSS(selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks an element that does not lead to another page.
func (p *Page) Click(ctx context.Context, selector string) error {
	return p.do(ctx, chromedp.Click(chromedp.CSS(selector)))
}

// Text returns the visible text of an element.
func (p *Page) Text(ctx context.Context, selector string) (string, error) {
	return run(ctx, p, chromedp.Text(chromedp.CSS(selector)))
}

// Title returns the title of the page.
func (p *Page) Title(ctx context.Context) (string, error) { return run(ctx, p, chromedp.Title()) }

// URL returns the address of the page.
func (p *Page) URL(ctx context.Context) (string, error) { return run(ctx, p, chromedp.Location()) }

// Cookies returns the cookies that the browser would send to the page's address.
func (p *Page) Cookies(ctx context.Context) ([]*network.Cookie, error) {
	return run(ctx, p, func(ctx context.Context, t *chromedp.Target) ([]*network.Cookie, error) {
		result, err := cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{})
		return result.Cookies, err
	})
}

// Eval evaluates a JavaScript expression in the page, waits for the promise that it may
// be, and decodes its value, as JSON, into result, unless that is nil. What the
// expression throws is an error.
func (p *Page) Eval(ctx context.Context, expression string, result any) error {
	value, err := run(ctx, p, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(value, result); err != nil {
		return fmt.Errorf("the value of %s: %w", expression, err)
	}
	return nil
}

// Await polls until a JavaScript expression is true. It goes on while the page becomes
// another one.
func (p *Page) Await(ctx context.Context, expression string) error {
	for {
		var ready bool
		err := p.Eval(ctx, "Boolean("+expression+")", &ready)
		if err == nil && ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", expression, errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Screenshot returns what the page looks like, as PNG.
func (p *Page) Screenshot(ctx context.Context) ([]byte, error) {
	return run(ctx, p, chromedp.CaptureScreenshot())
}

func (p *Page) do(ctx context.Context, steps ...chromedp.Action[chromedp.Void]) error {
	_, err := run(ctx, p, func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		return chromedp.Void{}, chromedp.Do(ctx, steps...)
	})
	return err
}

// run runs an action on the page, until ctx is done.
func run[T any](ctx context.Context, p *Page, action chromedp.Action[T]) (T, error) {
	within, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	value, err := chromedp.Run(within, action)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	return value, err
}
