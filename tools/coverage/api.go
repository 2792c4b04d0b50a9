package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// api is one line, and what becomes of it.
type api struct {
	id, method string
	facts      *facts
	gaps       []string // why it is not covered
	omitted    []string // facts that are left out of account

	// The Caddyfile.
	provider, site, connect block
	upstream                string

	document      []byte          // a tenant's credential
	optional      map[string]bool // its fields for which there is something else
	required      map[string]bool // those that have to be there, for all that
	exposed       []string
	constantHosts []string // of token requests

	// What is expected of the provider, in the words of the line.
	base         string
	header       map[string]string // of requests, by name in lower case
	query        map[string]string
	jwt          *wantedJWT
	renewal      *wantedRequest // nil: tokens are not renewed
	refresh      *wantedRequest // of a login that has one
	code         *wantedCode    // nil: nobody connects an account
	answer       answer         // to token requests
	limited      []limitedAnswer
	assertion    string // the parameter that has a JWT: signed
	signed       *wantedJWT
	severalSteps bool // the renewal is not one request
}

// Names of the provider, and who the client is.
const (
	providerName = "api"
	clientID     = "made-up-client"
	clientSecret = "made-up-client-secret"
	redirectURI  = "https://connect.example.com/api/callback"
)

// read makes the Caddyfile of a line.
func read(line []byte) *api {
	a := &api{optional: map[string]bool{}, required: map[string]bool{}, header: map[string]string{}, query: map[string]string{}, document: []byte("{}")}
	var err error
	if a.facts, err = readFacts(line, &a.gaps); err != nil {
		a.gap("the line is no JSON object")
		return a
	}
	a.id, a.method = a.facts.text("api"), a.facts.text("method")
	a.makeUp()
	a.readRetryAfter()
	switch a.method {
	case "api_key":
		a.readMappings()
		if !strings.Contains(string(line), "{credential.") {
			a.gap("nothing says where the key goes")
		}
	case "basic":
		a.readBasic()
	case "oauth2_authorization_code":
		a.readCode()
	case "oauth2_client_credentials":
		a.readClientCredentials()
	case "mcp":
		a.readMCP()
	case "login":
		a.readLogin()
	case "jwt":
		a.readJWT()
	case "oauth1":
		a.gap("OAuth 1.0 (oauth1)")
	case "signature":
		a.gap("signatures (%s)", strings.ToLower(a.facts.object("signature").text("protocol")))
	default:
		a.gap("method %q is not known to this program", a.method)
	}
	if len(a.gaps) == 0 {
		for _, fact := range a.facts.left() {
			a.gap("%s: not expressed", fact)
		}
	}
	return a
}

// gap notes why the line is not covered.
func (a *api) gap(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(a.gaps, text) {
		a.gaps = append(a.gaps, text)
	}
}

// omit notes what is left out of account.
func (a *api) omit(what string) {
	if !slices.Contains(a.omitted, what) {
		a.omitted = append(a.omitted, what)
	}
}

var (
	wholeURL  = regexp.MustCompile(`(?:^|\|\| *)\{credential\.([^{}\s]+)\}`)
	wholeHost = regexp.MustCompile(`://\{credential\.([^{}\s]+)\}(?:/|$| \|\|)`)
	port      = regexp.MustCompile(`:\{credential\.([^{}\s]+)\}`)
)

// makeUp makes a credential of all fields that a line names, which fit where they stand.
func (a *api) makeUp() {
	var walk func(key string, value any)
	walk = func(key string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, name := range sorted(v) {
				walk(name, v[name])
			}
		case []any:
			for _, one := range v {
				walk(key, one)
			}
		case string:
			for _, path := range fields(v) {
				a.setDefault(path, label(path)+"-1")
			}
			if !strings.HasSuffix(key, "_url") {
				return
			}
			for _, found := range wholeURL.FindAllStringSubmatch(v, -1) {
				a.set(found[1], "https://"+label(found[1])+".tenant.example")
			}
			for _, found := range wholeHost.FindAllStringSubmatch(v, -1) {
				a.set(found[1], label(found[1])+".tenant.example")
			}
			for _, found := range port.FindAllStringSubmatch(v, -1) {
				a.set(found[1], "8443")
			}
		}
	}
	for _, key := range sorted(a.facts.values) { // base_url last but for refresh_url and token_url, which it agrees with
		walk(key, a.facts.values[key])
	}
}

// label is a name as part of a host's name.
func label(path string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(path), "-"), "-")
}

func (a *api) set(path, value string) {
	changed, err := sjson.SetBytes(a.document, path, value)
	if err != nil {
		a.gap("field %s has no place in a credential", path)
		return
	}
	a.document = changed
}

func (a *api) setDefault(path, value string) {
	if !gjson.GetBytes(a.document, path).Exists() {
		a.set(path, value)
	}
}
