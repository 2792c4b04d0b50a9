package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// readLogin reads a line whose token comes of a request of its own kind.
func (a *api) readLogin() {
	f := a.facts
	if f.has("assertion") || f.has("token") {
		a.readAssertion()
		return
	}
	if f.has("authorization_url") {
		a.omitOther("authorization_url", "authorization_params")
	}
	if !f.has("token_response") {
		a.gap("nothing says what is sent and where the token is")
		return
	}
	response := f.object("token_response")
	a.answer.token = response.text("token")
	token := "access_token"
	if sentAs := strings.Join(fields(fmt.Sprint(f.values["headers"])), " "); !strings.Contains(sentAs, token) && slices.Contains(strings.Fields(sentAs), "token") {
		token = "token"
	}
	a.set(token, "made-up-token-0")
	a.provider.open("login")

	var hosts []string
	a.renewal = a.loginRequest("request", f, f.text("token_url"), &hosts)
	for _, step := range f.objects("further_steps") {
		a.renewal = a.loginRequest("request", step, step.text("token_url"), &hosts)
		a.severalSteps = true
		a.omit("the requests of a login with several steps: they are written, and not tried")
	}
	a.provider.add("token_field", token, a.answer.token)
	if a.answer.refreshToken = response.text("refresh_token"); a.answer.refreshToken != "" {
		a.provider.add("token_field", "refresh_token", a.answer.refreshToken)
	}
	if address := f.text("refresh_url"); address != "" {
		refresh := &facts{name: "refresh.", asked: f.asked, wrong: f.wrong, values: map[string]any{
			"token_params": f.values["refresh_token_params"], "token_headers": f.values["token_headers"], "body_format": f.values["body_format"],
		}}
		a.refresh = a.loginRequest("refresh", refresh, address, &hosts)
		f.asked["refresh_token_params"] = true
		a.setDefault("refresh_token", "made-up-refresh-token-0")
	}
	a.answer.kept = f.list("kept_from_response")
	for _, path := range a.answer.kept {
		a.setDefault(path, label(path)+"-1")
		if a.provider.add("token_field", path, path); a.severalSteps {
			a.gap("what an answer before the last one has is kept (kept_from_response)")
		}
	}
	a.readExpiry(response)
	a.addTokenHosts(hosts)
	a.provider.end()
	a.readMappingsOf(token)
}

func (a *api) readExpiry(response *facts) {
	path, strategy, lifetime := response.text("token_expiration"), response.text("token_expiration_strategy"), a.facts.text("token_lifetime_ms")
	switch {
	case path != "" && strategy == "expireIn":
		a.answer.expiresIn = path
		a.provider.add("expires_in", path)
	case path != "" && strategy == "expireAt":
		a.answer.expiresAt = path
		a.provider.add("expires_at", path)
	case path != "":
		a.gap("a lifetime that is told by %q", strategy)
	}
	if lifetime == "" || lifetime == "0" {
		return
	}
	ms, err := strconv.Atoi(lifetime)
	if err != nil || path != "" {
		a.gap("a lifetime that is said twice, or is no number")
		return
	}
	a.provider.add("expires_in", fmt.Sprintf("%ds", ms/1000))
}

// loginRequest writes a request, and adds to hosts where it may go if that is up to the
// credential.
func (a *api) loginRequest(directive string, f *facts, address string, hosts *[]string) *wantedRequest {
	want := &wantedRequest{
		method: f.text("token_request_method"), url: address, format: f.text("body_format"), params: f.texts("token_params"), header: f.texts("token_headers"),
		refreshing: directive == "refresh",
	}
	url := a.ours("token_url", address)
	if strings.HasPrefix(url, "{step") { // a whole URL, of which the host is taken
		url = "https://" + strings.Replace(url, "}", "|@host}", 1)
	}
	words := []string{directive}
	if want.method != "" && want.method != http.MethodPost {
		words = append(words, want.method)
	}
	host, _ := cutHost(strings.TrimPrefix(url, "https://"))
	switch {
	case strings.Contains(host, "{credential."):
		*hosts = append(*hosts, a.pattern(host))
	case !strings.Contains(host, "{"):
		a.constantHosts = append(a.constantHosts, host)
	case strings.Contains(url, "{step"):
		*hosts = append(*hosts, "*.tenant.example")
	}
	a.provider.open(append(words, url)...)
	contentType := ""
	for _, name := range sorted(want.header) {
		value := want.header[name]
		if basic := basicOf.FindStringSubmatch(value); basic != nil {
			a.provider.add("basic", a.ours("basic", basic[1]), a.ours("basic", basic[2]))
			continue
		}
		if strings.EqualFold(name, "Content-Type") {
			contentType = value
			continue // of the body
		}
		a.provider.add("header", name, a.ours("token header "+name, value))
	}
	if want.format == "" {
		want.format = "json"
		if strings.HasPrefix(contentType, contentTypes["form"]) {
			want.format = "form"
		}
	}
	if len(want.params) == 0 {
		want.format = ""
		delete(want.header, "content-type") // there is no content
	}
	for _, name := range sorted(want.params) {
		value := a.ours(directive+" "+name, want.params[name])
		if _, text := f.values["token_params"].(map[string]any)[name].(string); text && want.format == "json" && json.Valid([]byte(value)) {
			value = strconv.Quote(value)
		}
		a.provider.add(want.format, name, value)
	}
	a.provider.end()
	return want
}
