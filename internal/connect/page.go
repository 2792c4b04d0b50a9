package connect

import (
	"bytes"
	"errors"
	"html/template"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
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
	{ErrUsed, notice{http.StatusGone, "This link was already used", "If your account is connected, nothing is left to do. If it is not: " + askAgain}},
	{ErrOtherProvider, notice{http.StatusForbidden, "This link does not belong here", askAgain}},
	{ErrOtherRedirect, notice{http.StatusForbidden, "This link does not belong here", askAgain}},
	{ErrOtherBrowser, notice{http.StatusForbidden, "This was not begun in this browser", nothing + "Please allow cookies, and stay in one browser. " + openAgain}},
	{ErrDeclined, notice{http.StatusForbidden, "The connection was declined", nothing + "If you want to connect your account after all: " + openAgain}},
	{ErrServerRefused, notice{http.StatusBadGateway, "The sign-in service refused", nothing + "Trying again may help: " + openAgain}},
	{ErrServerUnavailable, notice{http.StatusBadGateway, "The sign-in service does not answer", nothing + "Please try again later: " + openAgain}},
	{ErrIssuer, notice{http.StatusForbidden, "The answer came from the wrong sign-in service", nothing + askAgain}},
	{ErrIDToken, notice{http.StatusBadGateway, "The sign-in service's answer cannot be trusted", nothing + askAgain}},
	{ErrUserinfo, notice{http.StatusBadGateway, "The sign-in service did not say who you are", nothing + "Trying again may help: " + openAgain}},
	// This one is within ErrNotAccepted, and so has to come before it.
	{credential.ErrInvalid, notice{http.StatusUnprocessableEntity, "This account cannot be used", nothing + "It may lack a permission. Use another account, or ask whoever sent you the link what it needs."}},
	{ErrNotAccepted, notice{http.StatusServiceUnavailable, "The connection could not be saved", "Please try again later: " + openAgain}},
}

// noticeOf tells a person what err means for them.
func noticeOf(err error) notice {
	for _, n := range notices {
		if errors.Is(err, n.err) {
			return n.notice
		}
	}
	return failed
}

var page = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
body { margin: 0; background: #fff; color: #1a1a1a; font: 1.125rem/1.5 sans-serif; }
main { max-width: 36rem; margin: 4rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
</main>
</body>
</html>
`))

// harden sets the headers of every answer: its address has a link, a state or a
// code in it, which nobody else is to get.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

func writePage(w http.ResponseWriter, n notice) {
	var b bytes.Buffer
	if err := page.Execute(&b, n); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(n.status)
	_, _ = w.Write(b.Bytes()) // whoever went away does not need it
}
