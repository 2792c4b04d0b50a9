package sdk

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/browser"
)

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Parse(pageSource))

// Page serves, at /, a page that runs an example with the package's bundle, and, at
// /user-credentials, what the example fetches there. Its origin must be another one
// than the API's, or the browser asks for no permission (CORS).
func (p Package) Page(e Example, env Env) (http.Handler, error) {
	if err := installed(); err != nil {
		return nil, err
	}
	var html bytes.Buffer
	if err := page.Execute(&html, map[string]any{"Title": p.Name + ": " + string(e), "Env": env}); err != nil {
		return nil, err
	}
	credentials, err := json.Marshal(map[string]string{"apiKey": env["USER_API_KEY"]})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", content("text/html; charset=utf-8", html.Bytes()))
	mux.Handle("GET /sdk.mjs", content("text/javascript", fmt.Appendf(nil, "export const %[1]s = globalThis.%[1]s", p.Global)))
	mux.Handle("GET /user-credentials", content("application/json", credentials))
	mux.Handle("GET /example.mjs", file(p.path(e)))
	mux.Handle("GET /bundle.js", file(filepath.Join("node_modules", filepath.FromSlash(p.Name), "dist", "bundle.js")))
	return mux, nil
}

func content(mediaType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(body)
	})
}

func file(path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		http.ServeFile(w, r, filepath.Join(dir(), path))
	})
}

// Output waits for the end of the example in a page of [Package.Page], and returns what
// it printed. What failed until then is an error; [Failures] has what failed later.
func Output(ctx context.Context, p *browser.Page) ([]byte, error) {
	var lines []string
	if err := p.Eval(ctx, "finished.then(() => output)", &lines); err != nil {
		return nil, err
	}
	output := []byte(strings.Join(lines, "\n"))
	failures, err := Failures(ctx, p)
	if err == nil && len(failures) > 0 {
		err = fmt.Errorf("the page's script failed: %s", strings.Join(failures, "; "))
	}
	return output, err
}

// Failures returns what has failed in a page of [Package.Page] so far, also unawaited.
func Failures(ctx context.Context, p *browser.Page) (failures []string, err error) {
	err = p.Eval(ctx, "failures", &failures)
	return failures, err
}
