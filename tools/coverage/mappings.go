package main

import (
	"strings"
)

// readBasic reads a line whose requests have a user and a password.
func (a *api) readBasic() {
	if a.facts.has("authorization_url") {
		a.omitOther("authorization_url", "authorization_params", "token_url", "token_params")
	}
	if headers, _ := a.facts.values["headers"].(map[string]any); headers["authorization"] == nil {
		a.provider.add("basic", "{credential.username}", "{credential.password}")
		a.setDefault("username", "made-up-user")
		a.setDefault("password", "made-up: password")
		a.header["authorization"] = "Basic ${base64({credential.username}:{credential.password})}"
	}
	a.readMappings()
}

// omitOther leaves out what a line says of another way to authenticate.
func (a *api) omitOther(keys ...string) {
	for _, key := range keys {
		a.facts.asked[key] = true
	}
	a.omit("authorization_url beside another method")
}

// readMappings reads where requests go and what they have in them.
func (a *api) readMappings() { a.readMappingsOf("") }

// readMappingsOf is readMappings for a token, a field of the credential that is sent as
// Authorization: Bearer unless the line says otherwise.
func (a *api) readMappingsOf(token string) {
	mapped := a.method == "basic"
	sent := false
	for name, text := range a.facts.texts("headers") {
		a.header[strings.ToLower(name)] = text
		sent = sent || token != "" && strings.Contains(text, "{credential."+token+"}")
	}
	for _, name := range sorted(a.header) {
		text := a.header[name]
		basic := basicOf.FindStringSubmatch(text)
		switch {
		case a.method == "basic" && name == "authorization" && text == "Basic ${base64({credential.username}:{credential.password})}":
		case basic != nil:
			a.provider.add("basic", a.ours("basic", basic[1]), a.ours("basic", basic[2]))
			mapped = true
		case strings.Contains(text, "{credential._cookies}"):
			a.gap("all cookies of a login's answer, whatever their names")
		case name == "authorization" && token != "" && text == "Bearer {credential."+token+"}":
			sent = false // as it is by itself, or as it is added below
		case strings.Contains(text, "{"):
			a.provider.add("header", name, a.ours("header "+name, text))
			mapped = true
		default:
			a.site.add("header_up", name, text)
		}
	}
	a.query = a.facts.texts("query")
	for _, name := range sorted(a.query) {
		if !strings.Contains(a.query[name], "{") {
			a.gap("query parameter %s: a constant", name)
		}
		a.provider.add("query", name, a.ours("query "+name, a.query[name]))
		mapped = true
	}
	if token != "" && !sent && a.header["authorization"] == "" {
		a.header["authorization"] = "Bearer {credential." + token + "}"
	}
	if token != "" && mapped && a.header["authorization"] == "Bearer {credential."+token+"}" {
		a.provider.add("header", "Authorization", "Bearer {credential."+token+"}")
	}
	a.readBase()
}

// readBase reads where requests go.
func (a *api) readBase() {
	a.base = a.facts.text("base_url")
	if a.base == "" {
		a.gap("nothing says where requests go")
		return
	}
	first, second, more := strings.Cut(a.base, "||")
	if first = strings.TrimSpace(first); more {
		a.withFirst(first, strings.TrimSpace(second))
	}
	base := a.single("base_url", first)
	address, secure := strings.CutPrefix(base, "https://")
	var host, path string
	switch {
	case secure:
		host, path = cutHost(address)
	case strings.HasPrefix(base, "{credential."):
		host, path, _ = strings.Cut(base, "}")
		host += "|@host}"
	default:
		a.gap("base_url %s is neither https nor a field", a.base)
		return
	}
	if path = strings.TrimRight(path, "/"); path != "" {
		a.provider.add("base_path", path)
	}
	if !strings.Contains(host, "{") {
		a.upstream = "https://" + host
		return
	}
	a.upstream = strings.ReplaceAll(host, "{credential.", "{upstream_auth.credential.")
	if _, port, _ := strings.Cut(fieldOf.ReplaceAllString(host, ""), ":"); port == "" && !strings.Contains(host, ":{") {
		a.upstream += ":443"
	}
	for _, field := range fieldOf.FindAllStringSubmatch(host, -1) {
		a.exposed = append(a.exposed, field[2])
	}
	a.provider.add(append([]string{"expose"}, a.exposed...)...)
	a.provider.add("allowed_hosts", a.pattern(host))
	a.site.open("transport", "http")
	a.site.add("tls")
	a.site.end()
}

// cutHost cuts a URL without its scheme where its path begins.
func cutHost(address string) (host, path string) {
	for i := range len(address) {
		if address[i] == '/' || address[i] == '?' {
			return address[:i], address[i:]
		}
	}
	return address, ""
}

// pattern is what an operator would allow for a host with fields in it: `*.` and what is
// certain, or the host of this tenant.
func (a *api) pattern(host string) string {
	first, rest, _ := strings.Cut(fieldOf.ReplaceAllString(host, "\x00"), ".")
	rest, _, _ = strings.Cut(rest, ":")
	if strings.Contains(first, "\x00") && !strings.Contains(rest, "\x00") && strings.Contains(rest, ".") {
		return "*." + rest
	}
	return hostOf(evaluate(strings.ReplaceAll(host, "|@host}", "}"), a.document))
}

// hostOf is the host of a URL, or of what is one.
func hostOf(address string) string {
	if _, rest, found := strings.Cut(address, "://"); found {
		address = rest
	}
	host, _ := cutHost(address)
	host, _, _ = strings.Cut(host, ":")
	return host
}
