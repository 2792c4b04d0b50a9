package caddymodule_test

import (
	"strings"
	"testing"
)

// inAPI is a Caddyfile with lines in upstream_auth_api; the first is line 13.
func inAPI(lines string) string { return inSite("upstream_auth_api billing {\n" + lines + "\n}") }

// inConnect is a Caddyfile with lines in upstream_auth_connect, of a provider with
// oauth2; the first is line 18.
func inConnect(oauth2, lines string) string {
	return inProvider("oauth2 {\ntoken_url https://as.example/token\nclient_id app\nclient_auth none\n"+oauth2+"\n}") +
		"http://127.0.0.1:8080 {\nupstream_auth_connect billing {\n" + lines + "\n}\n}\n"
}

// inForm is a Caddyfile with lines in a provider with an API key, and lines in
// upstream_auth_connect; with one line of the provider's, the first is line 14.
func inForm(provider, lines string) string {
	return inProvider("header X-Api-Key {credential.api_key}\n"+provider) +
		"http://127.0.0.1:8080 {\nupstream_auth_connect billing {\n" + lines + "\n}\n}\n"
}

// The errors of what brings credentials in, each with its place.
func TestErrorsOfRoadsInNameTheirPlace(t *testing.T) {
	const key = "header X-Api-Key {credential.api_key}\n"
	const hs256 = "token hs256 {\nsecret_file testdata/files/client_secret\n}\n"
	const redirect = "redirect_uris https://connect.example.com/callback\n"
	const issuer = "issuer https://as.example"
	for name, c := range map[string]struct{ caddyfile, want string }{
		// schema
		"inline schema that is none": {inProvider("schema `{\"type\":1}`"), "schema: "},
		"exposed but writeOnly":      {inProvider(key + "expose api_key\nschema `{\"properties\":{\"api_key\":{\"writeOnly\":true}}}`"), `expose: the schema says that "api_key" is writeOnly, at Caddyfile:10`},

		"exposed refresh token": {inProvider("oauth2 {\ntoken_url https://as.example/token\nclient_id app\nclient_auth none\n}\nexpose refresh_token"), `expose: the schema says that "refresh_token" is writeOnly, at Caddyfile:13`},

		// test and revoke
		"test without a URL":         {inProvider(key + "test"), "wrong argument count or unexpected line ending after 'test', at Caddyfile:8"},
		"test with too much":         {inProvider(key + "test GET https://a.example x"), "wrong argument count or unexpected line ending after 'x', at Caddyfile:8"},
		"test twice":                 {inProvider(key + "test https://a.example\ntest https://b.example"), "test is given twice, at Caddyfile:9"},
		"test by an unknown method":  {inProvider(key + "test FETCH https://a.example"), "test: 'FETCH' is not a method, at Caddyfile:8"},
		"test over plain HTTP":       {inProvider(key + "test http://a.example"), "test: must be https, unless the host is a loopback address, at Caddyfile:9"},
		"test of a chosen host":      {inProvider(key + "test https://{credential.host}/"), "test: a host named by the credential needs allowed_hosts, at Caddyfile:9"},
		"test of a request's host":   {inProvider(key + "test https://{http.request.host}/"), "test: "},
		"test with an unknown line":  {inProvider(key + "test https://a.example {\nbody x\n}"), "unrecognized subdirective 'body' of test, at Caddyfile:9"},
		"test with a status of none": {inProvider(key + "test https://a.example {\nstatus 99\n}"), "status: '99' is not the status code of a final response, at Caddyfile:9"},
		"revoke without a URL":       {inProvider(key + "revoke"), "wrong argument count or unexpected line ending after 'revoke', at Caddyfile:8"},
		"revocation over plain HTTP": {inOAuth2("revocation_url http://as.example/revoke"), "revocation_url: must be https, unless the host is a loopback address, at Caddyfile:8"},
		"issuer over plain HTTP":     {inOAuth2("issuer http://as.example"), "issuer: must be https, unless the host is a loopback address, at Caddyfile:8"},
		"token_field twice":          {inOAuth2("token_field a b\ntoken_field a c"), "token_field a is given twice, at Caddyfile:9"},
		"field that is a token":      {inOAuth2("token_url https://as.example/token\nclient_id app\nclient_auth none\nrefresh_field refresh_token x"), "at Caddyfile:12"},

		// fetch_credentials
		"fetch without a URL":        {inProvider(key + "fetch_credentials"), "wrong argument count or unexpected line ending after 'fetch_credentials', at Caddyfile:8"},
		"fetch over plain HTTP":      {inProvider(key + "fetch_credentials http://app.example/"), "fetch_credentials: must be https, unless the host is a loopback address, at Caddyfile:8"},
		"fetch from a tenant's host": {inProvider(key + "fetch_credentials https://{tenant}.example/"), "fetch_credentials: "},
		"fetch twice":                {inProvider(key + "fetch_credentials https://a.example\nfetch_credentials https://b.example"), "fetch_credentials is given twice, at Caddyfile:9"},
		"fetch with a secret":        {inProvider(key + "fetch_credentials https://a.example {\nheader Authorization hunter2\n}"), "fetch_credentials: header Authorization: a secret is not written into the configuration"},
		"fetch with half a pair":     {inProvider(key + "fetch_credentials https://a.example {\ntls_client_cert testdata/files/ca.pem\n}"), "fetch_credentials: tls_client_cert and tls_client_key go together, at Caddyfile:10"},
		"fetch with an unknown line": {inProvider(key + "fetch_credentials https://a.example {\nretries 3\n}"), "unrecognized subdirective 'retries' of fetch_credentials, at Caddyfile:9"},

		"fetch on KV version 1": {inApp("store vault {\nkv_version 1\nauth token_file /t\n}\nprovider a {\n" + key + "fetch_credentials https://a.example\n}"), "provider a: fetch_credentials needs a store with check-and-set, which kv_version 1 does not have, at Caddyfile:"},
		"API on KV version 1":   {inApp("store vault {\nkv_version 1\nauth token_file /t\n}\nprovider billing {\n"+key+"}") + "http://127.0.0.1:8080 {\nupstream_auth_api billing {\n" + hs256 + "}\n}\n", "upstream_auth_api needs a store with check-and-set, which kv_version 1 does not have, at Caddyfile:"},

		// the API
		"API without a provider":        {inSite("upstream_auth_api"), "wrong argument count or unexpected line ending after 'upstream_auth_api', at Caddyfile:12"},
		"API of an unknown provider":    {inSite("upstream_auth_api other {\n" + hs256 + "}"), "no provider 'other' is configured"},
		"API without a token":           {inAPI("issuer x"), "upstream_auth_api: token is missing: a shared secret (hs256) or a key set (jwks), at Caddyfile:14"},
		"API with an unknown line":      {inAPI("tokens x"), "unrecognized subdirective 'tokens' of upstream_auth_api, at Caddyfile:13"},
		"token of no kind":              {inAPI("token"), "wrong argument count or unexpected line ending after 'token', at Caddyfile:13"},
		"token of an unknown kind":      {inAPI("token rs256"), "token 'rs256' is neither hs256 nor jwks, at Caddyfile:13"},
		"token twice":                   {inAPI(hs256 + hs256), "token is given twice, at Caddyfile:16"},
		"hs256 without a secret":        {inAPI("token hs256"), "token hs256 needs secret_file, at Caddyfile:13"},
		"hs256 with a missing file":     {inAPI("token hs256 {\nsecret_file testdata/files/absent\n}"), "secret_file: open testdata/files/absent: no such file or directory, at Caddyfile:14"},
		"hs256 with algorithms":         {inAPI("token hs256 {\nalgorithms HS512\n}"), "unrecognized subdirective 'algorithms' of token hs256, at Caddyfile:14"},
		"jwks without a source":         {inAPI("token jwks {\nalgorithms RS256\n}"), "token jwks needs one of url and file, at Caddyfile:15"},
		"jwks with two sources":         {inAPI("token jwks {\nurl https://as.example/jwks\nfile testdata/files/schema.json\nalgorithms RS256\n}"), "token jwks needs one of url and file, at Caddyfile:17"},
		"jwks without algorithms":       {inAPI("token jwks {\nurl https://as.example/jwks\n}"), "token jwks needs algorithms, at Caddyfile:15"},
		"jwks over plain HTTP":          {inAPI("token jwks {\nurl http://as.example/jwks\n}"), "url: must be https, unless the host is a loopback address, at Caddyfile:14"},
		"jwks with a shared secret":     {inAPI("token jwks {\nurl https://as.example/jwks\nalgorithms RS256 HS256\n}"), "HS256"},
		"jwks with no signature at all": {inAPI("token jwks {\nurl https://as.example/jwks\nalgorithms none\n}"), "none"},
		"operators without a value":     {inAPI("operators role"), "wrong argument count or unexpected line ending after 'role', at Caddyfile:13"},
		"origin with a path":            {inAPI("cors_origins https://app.example/"), "cors_origins: 'https://app.example/' is not an origin such as https://app.example.com, at Caddyfile:13"},
		"origin with a usual port":      {inAPI("cors_origins http://localhost:3000 https://app.example:443"), "cors_origins: 'https://app.example:443' is not an origin such as https://app.example.com, at Caddyfile:13"},
		"any origin":                    {inAPI("cors_origins *"), "cors_origins: '*' is not an origin such as https://app.example.com, at Caddyfile:13"},

		// connecting
		"connect without a provider":    {inSite("upstream_auth_connect"), "wrong argument count or unexpected line ending after 'upstream_auth_connect', at Caddyfile:12"},
		"connect without oauth2":        {inSite("upstream_auth_connect billing {\n" + redirect + "}"), "the provider has no oauth2, at Caddyfile:"},
		"form that is twice":            {inForm("", redirect+"form\nform"), "form is given twice, at Caddyfile:"},
		"form with too much":            {inForm("", redirect+"form https://a.example x"), "wrong argument count or unexpected line ending after 'x', at Caddyfile:15"},
		"form with help over HTTP":      {inForm("", redirect+"form http://docs.example"), "form: is no https URL of a page with help, at Caddyfile:15"},
		"form with a script":            {inForm("", redirect+"form javascript:alert(1)"), "form: is no https URL of a page with help, at Caddyfile:15"},
		"form of an array":              {inForm("schema `{\"properties\":{\"scopes\":{\"type\":\"array\"}}}`", redirect+"form"), `form cannot show "scopes": it is an array, or an object of which nobody says what is in it, at Caddyfile:15`},
		"form of the reserved field":    {inForm("schema `{\"properties\":{\"_upstream_auth\":{}}}`", redirect+"form"), `form cannot show "_upstream_auth": it is reserved, at Caddyfile:15`},
		"form beside signing in":        {inConnect(issuer, redirect+"form"), "form is for credentials that people type, and oauth2 with grant refresh_token has tokens of its authorization server: leave form out, at Caddyfile:19"},
		"form with what is asked":       {inForm("", redirect+"form\nask shop"), "ask, scopes, param and token_param are for signing in at an authorization server, which a form is instead of, at Caddyfile:"},
		"form without an address":       {inForm("", "form"), "upstream_auth_connect needs redirect_uris, at Caddyfile:"},
		"no form where there has to be": {inConnect("grant client_credentials", redirect), "which needs nobody who connects an account: say form for what people type, at Caddyfile:"},
		"connect without a redirect":    {inConnect(issuer, ""), "upstream_auth_connect needs redirect_uris, at Caddyfile:19"},
		"connect with an unknown line":  {inConnect(issuer, "redirect https://a.example"), "unrecognized subdirective 'redirect' of upstream_auth_connect, at Caddyfile:18"},
		"redirect over plain HTTP":      {inConnect(issuer, "redirect_uris http://connect.example.com/callback"), "redirect_uris: 'http://connect.example.com/callback': must be https"},
		"redirect to where links lead":  {inConnect(issuer, "redirect_uris https://connect.example.com/connect"), "at Caddyfile:"},
		"nowhere to authorize":          {inConnect("", redirect), "at Caddyfile:"},
		"param of the protocol's own":   {inConnect(issuer, redirect+"param state x"), "at Caddyfile:"},
		"param twice":                   {inConnect(issuer, redirect+"param a b\nparam a c"), "param a is given twice, at Caddyfile:20"},
		"application of two lines":      {inConnect(issuer, redirect+"application `a\nb`"), "application: is not one line of at most 100 characters, at Caddyfile:"},
		"application twice":             {inConnect(issuer, redirect+"application a\napplication b"), "application is given twice, at Caddyfile:20"},
		"link_ttl too long":             {inConnect(issuer, redirect+"link_ttl 48h"), "at Caddyfile:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := adapt(t, c.caddyfile)
			if err == nil {
				t.Fatalf("adapted without an error, want %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "at Caddyfile:") {
				t.Errorf("got error\n\t%v\nwant\n\t%s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q quotes a secret", err)
			}
		})
	}
}

// URLs that are filled in when the configuration is loaded.
func TestURLsThatAreNotKnownYet(t *testing.T) {
	const key = "header X-Api-Key {credential.api_key}\n"
	for name, caddyfile := range map[string]string{
		"redirect_uris": inConnect("issuer https://as.example", "redirect_uris {env.ONE} {env.OTHER} https://{env.HOST}/callback"),
		"test":          inProvider(key + "test {env.API}/me\nrevoke POST {env.API}:8443/{credential.id}"),
		"test's host":   inProvider(key + "allowed_hosts *.example.com\ntest https://{env.SUB}.{credential.host}/"),
	} {
		if _, err := adapt(t, caddyfile); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := adapt(t, inProvider(key+"test {env.API}.{credential.host}/")); err == nil || !strings.Contains(err.Error(), "needs allowed_hosts") {
		t.Errorf("a host that the credential has a say in: %v", err)
	}
}
