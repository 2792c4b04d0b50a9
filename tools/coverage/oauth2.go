package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// wantedRequest is a request for a token, in the words of the line.
type wantedRequest struct {
	method     string // default: POST
	url        string
	format     string // form, json or query; "": it has no parameters
	params     map[string]string
	header     map[string]string
	clientAuth string // basic or post; "": there is no client
	scope      string
	refreshing bool // it has a refresh token
}

// wantedCode is how an account is connected.
type wantedCode struct {
	authorizationURL string
	params           map[string]string
	withoutPKCE      bool
	request          wantedRequest
	ask              []string
}

// answer is what servers are told to answer with.
type answer struct {
	token, refreshToken, expiresIn, expiresAt string // paths; "": it is not in there
	milliseconds                              bool
	kept                                      []string
}

// openOAuth2 begins the block, and returns the request that all grants have in common. How
// the client authenticates is up to the line, or as given.
func (a *api) openOAuth2(clientAuth string) wantedRequest {
	f := a.facts
	want := wantedRequest{url: f.text("token_url"), params: map[string]string{}, header: f.texts("token_headers"), clientAuth: cmp.Or(f.text("client_auth"), clientAuth), format: f.text("body_format")}
	a.provider.open("oauth2")
	hosts := a.endpoint("token_url", want.url)
	if address := f.text("refresh_url"); address != "" {
		hosts = append(hosts, a.endpoint("refresh_url", address)...)
	}
	if a.connects() {
		hosts = append(hosts, a.endpoint("authorization_url", f.text("authorization_url"))...)
	}
	a.addTokenHosts(hosts)
	switch want.clientAuth {
	case "none", "post", "basic", "private_key_jwt":
		a.provider.add("client_auth", want.clientAuth)
	default:
		a.gap("client authentication %q", want.clientAuth)
	}
	switch want.format {
	case "":
		want.format = "form"
	case "form", "json", "query":
		a.provider.add("request", want.format)
	default:
		a.gap("body format %q", want.format)
	}
	for _, name := range sorted(want.header) {
		if strings.EqualFold(name, "Content-Type") && strings.HasPrefix(want.header[name], contentTypes[want.format]) {
			continue // by itself
		}
		a.provider.add("request_header", name, a.ours("token header "+name, want.header[name]))
	}
	if separator := f.text("scope_separator"); separator != "" {
		want.scope = "one" + separator + "two"
		if separator != " " {
			a.provider.add("scope_separator", separator)
		}
	}
	switch unit := f.text("expires_in_unit"); unit {
	case "", "seconds":
	case "milliseconds":
		a.answer.milliseconds = true
		a.provider.add("expires_in_unit", unit)
	default:
		a.gap("lifetimes in %s", unit)
	}
	if lifetime := f.text("token_lifetime_ms"); lifetime != "" && lifetime != "0" {
		a.gap("oauth2: a lifetime that the answer does not say")
	}
	if f.text("client_certificate") == "true" {
		a.provider.add("tls_client_cert", "{env.CREDENTIALS_DIRECTORY}/client-cert.pem")
		a.provider.add("tls_client_key", "{env.CREDENTIALS_DIRECTORY}/client-key.pem")
	}
	within := f.text("access_token_path")
	if within != "" {
		within += "."
		for _, name := range []string{"access_token", "refresh_token", "expires_in"} {
			a.provider.add("response_field", name, within+name)
		}
	}
	a.answer.token, a.answer.expiresIn = within+"access_token", within+"expires_in"
	a.answer.kept = f.list("kept_from_response")
	for _, path := range a.answer.kept {
		a.setDefault(path, label(path)+"-1")
		if a.connects() {
			a.provider.add("token_field", path, path)
		}
		a.provider.add("refresh_field", path, path)
	}
	a.setDefault("access_token", "made-up-token-0")
	return want
}

var contentTypes = map[string]string{"form": "application/x-www-form-urlencoded", "json": "application/json"}

// connects reports whether there is a person who connects an account.
func (a *api) connects() bool { return a.method == "oauth2_authorization_code" || a.method == "mcp" }

// endpoint writes the address of one, and returns where its requests may go if that is up
// to the credential.
func (a *api) endpoint(setting, address string) []string {
	text := a.ours(setting, address)
	a.provider.add(setting, text)
	if host, _ := cutHost(strings.TrimPrefix(text, "https://")); strings.Contains(host, "{credential.") {
		if a.optional[fieldsOfOurs(host)] {
			return []string{a.pattern(fieldOf.ReplaceAllString(alternatives(address)[0], "{$1.$2}")[len("https://"):]), hostOf(evaluate(alternatives(address)[1], a.document))}
		}
		return []string{a.pattern(host)}
	}
	a.constantHosts = append(a.constantHosts, hostOf(text))
	return nil
}

// addTokenHosts writes where secrets may go if the credential has a say in that: there, and
// to the hosts that are certain.
func (a *api) addTokenHosts(hosts []string) {
	if len(hosts) == 0 {
		return
	}
	hosts = append(hosts, a.constantHosts...)
	slices.Sort(hosts)
	a.provider.add(append([]string{"token_hosts"}, slices.Compact(hosts)...)...)
}

// fieldsOfOurs is the field in a text of Caddyfiles, without its filters.
func fieldsOfOurs(text string) string {
	found := fieldOf.FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	path, _, _ := strings.Cut(found[2], "|")
	return path
}

// addParams writes parameters but for those that are there by themselves.
func (a *api) addParams(b *block, directive string, params, own map[string]string) {
	for _, name := range sorted(params) {
		if params[name] != own[name] || own[name] == "" {
			b.add(directive, name, a.ours(directive+" "+name, params[name]))
		}
	}
}

func (a *api) readClientCredentials() {
	if a.facts.has("authorization_url") {
		a.omitOther("authorization_url", "authorization_params")
	}
	want := a.openOAuth2("post")
	a.provider.add("grant", "client_credentials")
	a.provider.add("client_id", "{credential.clientId}")
	a.provider.add("client_secret", "{credential.clientSecret}")
	a.set("clientId", clientID)
	a.set("clientSecret", clientSecret)
	want.params = a.facts.texts("token_params")
	a.addParams(&a.provider, "param", want.params, map[string]string{"grant_type": "client_credentials"})
	if want.scope != "" && want.params["scope"] == "" {
		a.provider.add("scopes", "one", "two")
	} else {
		want.scope = ""
	}
	a.provider.end()
	a.renewal = &want
	a.readMappingsOf("access_token")
}

func (a *api) readCode() {
	if _, several := a.facts.values["token_url"].(map[string]any); several {
		a.gap("an app's own token endpoint beside that of its users (github_app)")
		return
	}
	want := a.openOAuth2("post")
	a.answer.refreshToken = strings.TrimSuffix(a.answer.token, "access_token") + "refresh_token"
	a.provider.add("client_id", "{env.CLIENT_ID}")
	a.provider.add("client_secret", "{env.CLIENT_SECRET}")
	code := &wantedCode{authorizationURL: a.facts.text("authorization_url"), request: want}
	code.withoutPKCE = a.facts.text("pkce") == "false"
	if code.withoutPKCE {
		a.provider.add("pkce", "off")
	}
	renewal := want
	renewal.refreshing, renewal.scope = true, ""
	if address := a.facts.text("refresh_url"); address != "" {
		renewal.url = address
	}
	renewal.params = a.facts.texts("refresh_params")
	maps.Copy(renewal.params, a.facts.texts("refresh_token_params"))
	a.addParams(&a.provider, "param", renewal.params, map[string]string{"grant_type": "refresh_token"})
	a.provider.end()
	a.renewal, a.code = &renewal, code
	a.setDefault("refresh_token", "made-up-refresh-token-0")

	code.params = a.facts.texts("authorization_params")
	code.request.params = a.facts.texts("token_params")
	a.connect.add("redirect_uris", redirectURI)
	scope := code.params["scope"]
	switch {
	case scope != "":
		a.connect.add(append([]string{"scopes"}, strings.Fields(scope)...)...)
	case want.scope != "":
		a.connect.add("scopes", "one", "two")
		code.params["scope"] = want.scope
	}
	code.request.scope = ""
	a.addParams(&a.connect, "param", without(code.params, "scope"), map[string]string{"response_type": "code", "response_mode": "query"})
	if code.params["response_mode"] == "query" {
		delete(code.params, "response_mode") // the default of this flow, which is not sent
	}
	a.addParams(&a.connect, "token_param", code.request.params, map[string]string{"grant_type": "authorization_code"})

	a.readMappingsOf("access_token")
	a.askFor(code)
}

// without is a map without one of its names.
func without(m map[string]string, name string) map[string]string {
	other := maps.Clone(m)
	delete(other, name)
	return other
}

// askFor has the person say what the credential needs, but for what comes with the tokens.
func (a *api) askFor(code *wantedCode) {
	var all []string
	for _, text := range []string{code.authorizationURL, code.request.url, a.renewal.url, a.base} {
		all = append(all, fields(alternatives(text)[0])...)
	}
	for _, texts := range []map[string]string{code.params, code.request.params, a.renewal.params, a.renewal.header, a.header, a.query} {
		for _, name := range sorted(texts) {
			all = append(all, fields(alternatives(texts[name])[0])...)
		}
	}
	slices.Sort(all)
	for _, path := range slices.Compact(all) {
		if path == "access_token" || path == "refresh_token" || slices.Contains(a.answer.kept, path) {
			continue
		}
		code.ask = append(code.ask, path)
		if strings.Contains(strings.ToLower(path), "password") {
			a.connect.add("ask", path, path, "secret")
		} else {
			a.connect.add("ask", path)
		}
	}
}

// readMCP reads a line of the Model Context Protocol: with a client that is registered by
// hand it is an authorization code flow.
func (a *api) readMCP() {
	switch {
	case a.facts.has("registration_url"):
		a.gap("MCP's clients that register themselves (client_registration)")
	case !a.facts.has("token_url"):
		a.gap("MCP's discovery from the resource alone")
	default:
		a.readCode()
	}
}
