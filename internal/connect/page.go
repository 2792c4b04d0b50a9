package connect

import (
	"bytes"
	"cmp"
	"errors"
	"html/template"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// notice is a page: fixed text, nothing of the request.
type notice struct {
	status      int
	Title, Text string
}

const (
	askAgain  = "Please ask whoever sent you the link for a new one."
	nothing   = "Nothing was connected. "
	openAgain = "Open your link again, or ask whoever sent it for a new one."
)

var (
	connected        = notice{http.StatusOK, "Your account is connected", "You can close this page."}
	methodNotAllowed = notice{http.StatusMethodNotAllowed, "This page cannot be used that way", "Please open your link in a browser."}
	failed           = notice{http.StatusServiceUnavailable, "This does not work at the moment", nothing + "Please try again later: " + openAgain}
)

// notices are tried in turn.
var notices = []struct {
	err error
	notice
}{
	{ErrMalformed, notice{http.StatusBadRequest, "This link is not complete", askAgain}},
	{ErrForged, notice{http.StatusBadRequest, "This link does not work", "It is not complete, or it was changed. " + askAgain}},
	{ErrExpired, notice{http.StatusGone, "This link has expired", askAgain}},
	{ErrUsed, notice{http.StatusGone, "This link was already used", "If your account is connected, nothing is left to do. If it is not, the link may have been withdrawn: " + askAgain}},
	{ErrCrossSite, notice{http.StatusForbidden, "This was not begun on this page", nothing + openAgain}},
	{ErrHandoff, notice{http.StatusForbidden, "The code is not the right one", nothing + "Please open your link again with the code that goes with it."}},
	{ErrOtherProvider, notice{http.StatusForbidden, "This link does not belong here", askAgain}},
	{ErrOtherRedirect, notice{http.StatusForbidden, "This link does not belong here", askAgain}},
	{ErrOtherBrowser, notice{http.StatusForbidden, "This was not begun in this browser", nothing + "Please allow cookies, and stay in one browser. " + openAgain}},
	{ErrDeclined, notice{http.StatusForbidden, "The connection was declined", nothing + "If you want to connect your account after all: " + openAgain}},
	{ErrServerRefused, notice{http.StatusBadGateway, "The sign-in service refused", nothing + "Trying again may help: " + openAgain}},
	{ErrServerUnavailable, notice{http.StatusBadGateway, "The sign-in service does not answer", nothing + "Please try again later: " + openAgain}},
	{ErrIssuer, notice{http.StatusForbidden, "The answer came from the wrong sign-in service", nothing + askAgain}},
	{ErrIDToken, notice{http.StatusBadGateway, "The sign-in service's answer cannot be trusted", nothing + askAgain}},
	{ErrUserinfo, notice{http.StatusBadGateway, "The sign-in service did not say who you are", nothing + "Trying again may help: " + openAgain}},
	{ErrOtherAccount, notice{http.StatusForbidden, "This is another account", nothing + "The link is for a certain account. Please open it again, and sign in with that one."}},
	// This one is within ErrNotAccepted, and so has to come before it.
	{credential.ErrInvalid, notice{http.StatusUnprocessableEntity, "This account cannot be used", nothing + "It may lack a permission. Use another account, or ask whoever sent you the link what it needs."}},
	{ErrNotAccepted, notice{http.StatusServiceUnavailable, "The connection could not be saved", "Please try again later: " + openAgain}},
}

var tooMany = notice{http.StatusTooManyRequests, "This was tried too often", nothing + "Please wait a little. Then open your link again, or ask whoever sent it for a new one."}

// noticeOf tells a person what err means for them.
func noticeOf(err error) notice {
	if _, ok := errors.AsType[*links.QuotaError](err); ok {
		return tooMany
	}
	for _, n := range notices {
		if errors.Is(err, n.err) {
			return n.notice
		}
	}
	return failed
}

// question is what a person is asked before anything happens.
type question struct {
	Application, Provider, Host, Tenant string

	Form      string // the token that the form has to have
	WantsCode bool
	ReturnTo  bool       // there is somewhere to return to
	Ask       []Question // without answers; there is no Host then
}

// Account is what would be connected.
func (q question) Account() string { return cmp.Or(q.Host, q.Provider) }

// Title has no name in it, which a browser's history would keep.
func (question) Title() string { return "Connect an account?" }

var page = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
:root { color-scheme: light dark; }
body { margin: 0; background: Canvas; color: CanvasText; font: 1.125rem/1.5 sans-serif; overflow-wrap: anywhere; }
main { max-width: 36rem; margin: 4rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
button, input, select, textarea { font: inherit; padding: 0.5rem 1rem; max-width: 100%; box-sizing: border-box; }
form > div, fieldset { margin: 0 0 1.25rem; min-width: 0; }
fieldset > div + div { margin-top: 1.25rem; }
label, small, strong { display: block; }
div > input, div > select, textarea { width: 100%; }
[role=alert] { border-left: 0.25rem solid #c00; padding-left: 1rem; }
</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
{{block "content" .}}<p>{{.Text}}</p>
{{end -}}
</main>
</body>
</html>

{{- define "handoff"}}{{if .WantsCode}}<p><label for="handoff">The code that {{.Application}} shows you:</label><br>
<input id="handoff" name="handoff" required autocomplete="off" autocapitalize="characters" spellcheck="false"></p>
{{end}}{{end}}
`))

var questionPage = template.Must(template.Must(page.Clone()).Parse(`{{define "content" -}}
<p><b>{{.Application}}</b> asks to use an account of yours at <b>{{.Account}}</b>{{if .Host}} ({{.Provider}}){{end}}.</p>
<p>It would be connected to <b>{{.Tenant}}</b>: whoever works for {{.Tenant}} in {{.Application}} could then act with your account.</p>
<p>Go on only if this is what you want. If you did not expect this page, close it: nothing is connected then.</p>
<form method="post">
<input type="hidden" name="form" value="{{.Form}}">
{{template "handoff" .}}
{{- range .Ask}}<p><label for="ask.{{.Path}}">{{or .Label .Path}}:</label><br>
<input id="ask.{{.Path}}" name="ask.{{.Path}}"{{if .Secret}} type="password"{{end}} required autocomplete="off" spellcheck="false"></p>
{{end -}}
<p><button id="go-on">Go on to {{.Account}}</button></p>
</form>
{{end}}`))

// harden sets the headers of every answer: its address has a link, a state or a
// code in it, which nobody else is to get.
//
// The policy has no form-action: Chromium holds all redirects after a form to it, and
// nobody knows all hosts that a sign-in leads over.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// writeAsking writes a page that asks. Its form's Origin would be null with no-referrer; its
// Referer has the origin alone, and not the link.
func writeAsking(w http.ResponseWriter, status int, t *template.Template, asked any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, asked); err != nil {
		return err
	}
	w.Header().Set("Referrer-Policy", "strict-origin")
	write(w, status, &b)
	return nil
}

func writePage(w http.ResponseWriter, n notice) {
	var b bytes.Buffer
	if err := page.Execute(&b, n); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	write(w, n.status, &b)
}

func write(w http.ResponseWriter, status int, page *bytes.Buffer) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // whoever went away does not need it
}
