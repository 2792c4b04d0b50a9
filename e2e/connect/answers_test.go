package connect

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Answers of the authorization server that are another's, are not for this login, or
// say no, connect nothing; neither does a credential that is of no use. The person may
// try again with the same link.
func TestAnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	changed := func(change func(url.Values)) func(a *attempt) world.Response {
		return func(a *attempt) world.Response { return a.get(a.with(a.back(), change)) }
	}
	played := func(b authserver.Behaviour) func(a *attempt) world.Response {
		return func(a *attempt) world.Response {
			a.Auth.PlayFor(a.tenant, func(authserver.Entry) authserver.Behaviour { return b })
			return a.get(a.back())
		}
	}
	claiming := func(name string, value any) func(a *attempt) world.Response {
		return played(authserver.Behaviour{Claims: func(claims map[string]any) { claims[name] = value }})
	}
	c.refuses(map[string]refusal{
		"denied": {
			try:    func(a *attempt) world.Response { return a.get(a.decide(a.open(a.link), a.tenant, "deny")) },
			status: 403, title: declinedTitle, again: true,
		},
		"wrong iss": {
			try:    changed(setting("iss", "https://elsewhere.example")),
			status: 403, title: wrongTitle, again: true,
		},
		"missing iss":  {try: changed(without("iss")), status: 403, title: wrongTitle, again: true},
		"doubled iss":  {try: changed(doubling("iss")), status: 400, title: incompleteTitle, again: true},
		"doubled code": {try: changed(doubling("code")), status: 400, title: incompleteTitle, again: true},
		"missing code": {try: changed(without("code")), status: 400, title: incompleteTitle, again: true},
		"error in trouble": {
			try: changed(setting("error", "temporarily_unavailable")), status: 502, title: silentTitle, again: true,
		},
		"error with a text": {
			try:    changed(setting("error", "<script>alert(1)</script>")),
			status: 502, title: refusedTitle, again: true,
		},

		// PKCE: the token endpoint refuses it, since it belongs to another verifier.
		"code of another login": {try: injectedCode, status: 502, title: refusedTitle, spent: 1, again: true},
		"invented code": {
			try:    changed(setting("code", "an-invented-code")),
			status: 502, title: refusedTitle, again: true,
		},
		"exchange with a 500": {
			try: played(authserver.Behaviour{Instead: func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "no", http.StatusInternalServerError)
			}}),
			status: 502, title: silentTitle, spent: 1, again: true,
		},
		"exchange without an answer": {
			try:    played(authserver.Behaviour{After: authserver.Drop}),
			status: 502, title: silentTitle, spent: 1, again: true,
		},

		"id token of another login": {
			try:    claiming("nonce", "another-login-of-somebody"),
			status: 502, title: untrustedTitle, spent: 1, again: true,
		},
		"id token without a nonce": {
			try:    claiming("nonce", nil),
			status: 502, title: untrustedTitle, spent: 1, again: true,
		},
		"id token of another client": {
			try:    claiming("aud", []string{"another"}),
			status: 502, title: untrustedTitle, spent: 1, again: true,
		},
		"id token of another issuer": {
			try:    claiming("iss", "https://elsewhere.example"),
			status: 502, title: untrustedTitle, spent: 1, again: true,
		},
		"id token of long ago": {
			try:    claiming("exp", 1_000_000_000),
			status: 502, title: untrustedTitle, spent: 1, again: true,
		},
		"id token with another key": {
			try:    played(authserver.Behaviour{ForeignKey: true}),
			status: 502, title: untrustedTitle, spent: 1, again: true,
		},

		"credential that breaks the schema": {
			provider: strict, try: played(authserver.Behaviour{}),
			status: 422, title: uselessTitle, spent: 1,
		},
		"credential that fails the test": {
			provider: tested, try: played(authserver.Behaviour{}),
			status: 422, title: uselessTitle, spent: 1,
		},
	})
}

// injectedCode has a good code of a person's own in the answer to another's login.
func injectedCode(a *attempt) world.Response {
	other, err := url.Parse(a.newPerson().consent(a.link, a.tenant))
	a.Check(err)
	return a.get(a.with(a.back(), setting("code", other.Query().Get("code"))))
}
