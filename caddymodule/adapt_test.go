package caddymodule_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the directives around ours
)

var update = flag.Bool("update", false, "rewrite the JSON of the adapt fixtures")

// separator stands between a fixture's Caddyfile and its JSON.
const separator = "----------\n"

// adapt turns a Caddyfile into JSON, indented.
func adapt(t *testing.T, text string) (string, error) {
	t.Helper()
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var conf any
	if err := json.Unmarshal(result, &conf); err != nil {
		t.Fatalf("the adapted configuration is no JSON: %v", err)
	}
	indented, err := json.MarshalIndent(conf, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(indented) + "\n", nil
}

func TestCaddyfilesAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			fixture, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, found := strings.Cut(string(fixture), separator)
			if !found {
				t.Fatalf("%s has no line of dashes", file)
			}
			got, err := adapt(t, caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(caddyfile+separator+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("adapted to\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// store is a store for Caddyfiles that are about something else.
const store = `store local /tmp/credentials.db {
key_file /tmp/key
}
`

// inApp is a Caddyfile with lines in the global option; the first is line 3.
func inApp(lines string) string { return "{\nupstream_auth {\n" + lines + "\n}\n}\n" }

// inVault is a Caddyfile with lines in the Vault store; the first is line 4.
func inVault(lines string) string { return inApp("store vault {\n" + lines + "\n}") }

// inProvider is a Caddyfile with lines in a provider; the first is line 7.
func inProvider(lines string) string { return inApp(store + "provider billing {\n" + lines + "\n}") }

// inOAuth2 is a Caddyfile with lines in oauth2; the first is line 8.
func inOAuth2(lines string) string { return inProvider("oauth2 {\n" + lines + "\n}") }

// inSite is a Caddyfile with a site that is given the lines; the first is line 12.
func inSite(lines string) string {
	return inProvider("header X-Api-Key {credential.api_key}") + "http://127.0.0.1:8080 {\n" + lines + "\n}\n"
}

// inAllowed is inSite with allowed_hosts; the first line is line 13.
func inAllowed(lines string) string {
	return strings.Replace(inSite(lines), "header X", "allowed_hosts api.example.com\nheader X", 1)
}

// The errors of the grammar, each with its place.
func TestCaddyfileErrorsNameTheirPlace(t *testing.T) {
	const tokenURL = "token_url https://as.example/token\n"
	const client = "client_id app\nclient_secret {env.SECRET}\n"
	cases := map[string]struct{ caddyfile, want string }{
		// the app
		"option with an argument":   {"{\nupstream_auth x {\n}\n}", "wrong argument count or unexpected line ending after 'x', at Caddyfile:2"},
		"option twice":              {"{\nupstream_auth {\n" + store + "}\nupstream_auth {\n" + store + "}\n}", "upstream_auth is given twice, at Caddyfile:7"},
		"no store":                  {inApp("journal /tmp/journal"), "upstream_auth needs a store: 'store vault' or 'store local', at Caddyfile:4"},
		"unknown subdirective":      {inApp("stores vault"), "unrecognized subdirective 'stores' of upstream_auth, at Caddyfile:3"},
		"store without a name":      {inApp("store"), "wrong argument count or unexpected line ending after 'store', at Caddyfile:3"},
		"store that does not exist": {inApp("store etcd"), "getting module named 'upstream_auth.stores.etcd': module not registered: upstream_auth.stores.etcd, at Caddyfile:3"},
		"two stores":                {inApp(store + store), "store is given twice, at Caddyfile:6"},
		"journal without a path":    {inApp("journal"), "wrong argument count or unexpected line ending after 'journal', at Caddyfile:3"},
		"journal with two paths":    {inApp("journal a b"), "wrong argument count or unexpected line ending after 'b', at Caddyfile:3"},
		"journal twice":             {inApp("journal a\njournal b"), "journal is given twice, at Caddyfile:4"},

		// store vault
		"vault with an argument":         {inApp("store vault x"), "wrong argument count or unexpected line ending after 'x', at Caddyfile:3"},
		"vault without auth":             {inVault("mount secret"), "store vault: auth is missing: one of token_file, approle, kubernetes and jwt, at Caddyfile:5"},
		"vault's unknown subdirective":   {inVault("token abc"), "unrecognized subdirective 'token' of store vault, at Caddyfile:4"},
		"vault over plain HTTP":          {inVault("address http://vault.internal:8200"), "address: must be https, unless the host is a loopback address, at Caddyfile:4"},
		"vault's address no URL":         {inVault("address vault:8200"), "address: not an absolute URL, at Caddyfile:4"},
		"kv_version 3":                   {inVault("kv_version 3"), "kv_version '3' is neither 1 nor 2, at Caddyfile:4"},
		"kv_version twice":               {inVault("kv_version 1\nkv_version 2"), "kv_version is given twice, at Caddyfile:5"},
		"path without the tenant":        {inVault("path upstream-auth/{provider}"), "path: "},
		"path that leaves the mount":     {inVault("path ../{provider}/{tenant}"), "path: "},
		"timeout that is no duration":    {inVault("timeout soon"), "timeout: 'soon' is not a duration, at Caddyfile:4"},
		"timeout of zero":                {inVault("timeout 0s"), "timeout must be above zero, at Caddyfile:4"},
		"cache_ttl twice":                {inVault("cache_ttl 1m\ncache_ttl 2m"), "cache_ttl is given twice, at Caddyfile:5"},
		"stale_if_error below zero":      {inVault("stale_if_error -1h"), "stale_if_error cannot be below zero, at Caddyfile:4"},
		"tls_ca that is not there":       {inVault("tls_ca testdata/files/absent.pem"), "tls_ca: open testdata/files/absent.pem: no such file or directory, at Caddyfile:4"},
		"client certificate without key": {inVault("auth token_file /t\ntls_client_cert testdata/files/ca.pem"), "tls_client_cert and tls_client_key go together, at Caddyfile:6"},
		"auth without a method":          {inVault("auth"), "wrong argument count or unexpected line ending after 'auth', at Caddyfile:4"},
		"auth unknown":                   {inVault("auth userpass"), "auth 'userpass' is none of token_file, approle, kubernetes and jwt, at Caddyfile:4"},
		"auth twice":                     {inVault("auth token_file /a\nauth token_file /b"), "auth is given twice, at Caddyfile:5"},
		"token_file without a path":      {inVault("auth token_file"), "wrong argument count or unexpected line ending after 'token_file', at Caddyfile:4"},
		"approle with an argument":       {inVault("auth approle x"), "wrong argument count or unexpected line ending after 'x', at Caddyfile:4"},
		"approle without a role":         {inVault("auth approle {\nsecret_id_file testdata/files/secret_id\n}"), "auth approle needs one of role_id_file and role_id, at Caddyfile:6"},
		"approle without a secret":       {inVault("auth approle {\nrole_id x\n}"), "auth approle needs secret_id_file, at Caddyfile:6"},
		"approle's unreadable file":      {inVault("auth approle {\nrole_id_file testdata/files/absent\n}"), "role_id_file: open testdata/files/absent: no such file or directory, at Caddyfile:5"},
		"approle's file is a directory":  {inVault("auth approle {\nsecret_id_file testdata/files\n}"), "secret_id_file: testdata/files is a directory, at Caddyfile:5"},
		"approle's unknown setting":      {inVault("auth approle {\nrole x\n}"), "unrecognized subdirective 'role' of auth approle, at Caddyfile:5"},
		"kubernetes without a role":      {inVault("auth kubernetes"), "auth kubernetes needs role, at Caddyfile:4"},
		"jwt without a file":             {inVault("auth jwt {\nrole x\n}"), "auth jwt needs file, at Caddyfile:6"},

		// store local
		"local without a path":         {inApp("store local"), "wrong argument count or unexpected line ending after 'local', at Caddyfile:3"},
		"local with two paths":         {inApp("store local a b"), "wrong argument count or unexpected line ending after 'b', at Caddyfile:3"},
		"local without a key":          {inApp("store local a"), "store local: key_file is missing, at Caddyfile:3"},
		"local's unknown subdirective": {inApp("store local a {\nkey x\n}"), "unrecognized subdirective 'key' of store local, at Caddyfile:4"},

		// providers
		"provider without a name":        {inApp(store + "provider"), "wrong argument count or unexpected line ending after 'provider', at Caddyfile:6"},
		"provider with a bad name":       {inApp(store + "provider Billing"), `provider name "Billing" does not match ^[a-z0-9][a-z0-9_-]{0,62}$, at Caddyfile:6`},
		"provider twice":                 {inApp(store + "provider a {\nheader A {credential.a}\n}\nprovider a {\nheader A {credential.a}\n}"), "provider a is given twice, at Caddyfile:9"},
		"provider with nothing to do":    {inProvider(""), "at Caddyfile:8"},
		"provider's unknown setting":     {inProvider("headers A {credential.a}"), "unrecognized subdirective 'headers' of provider, at Caddyfile:7"},
		"schema that is not there":       {inProvider("schema testdata/files/absent.json"), "schema: open testdata/files/absent.json: no such file or directory, at Caddyfile:7"},
		"schema that is none":            {inProvider("schema testdata/files/broken.json"), "schema: reading JSON Schema: "},
		"schema twice":                   {inProvider("schema testdata/files/schema.json\nschema testdata/files/schema.json"), "schema is given twice, at Caddyfile:8"},
		"allowed_hosts without one":      {inProvider("allowed_hosts"), "wrong argument count or unexpected line ending after 'allowed_hosts', at Caddyfile:7"},
		"allowed_hosts with a URL":       {inProvider("allowed_hosts https://example.com"), "allowed_hosts: "},
		"expose with a placeholder":      {inProvider("expose {credential.a}"), `expose: "{credential.a}" is not a path, at Caddyfile:7`},
		"header without a value":         {inProvider("header X-Api-Key"), "wrong argument count or unexpected line ending after 'X-Api-Key', at Caddyfile:7"},
		"secret written down":            {inProvider("header X-Api-Key hunter2"), "header X-Api-Key: a secret is not written into the configuration: use {credential.<path>}, {env.NAME} or {file.PATH}, at Caddyfile:7"},
		"placeholder of a request":       {inProvider("header X-Api-Key {http.request.header.Key}"), "placeholder {http.request.header.Key} cannot be resolved here, at Caddyfile:7"},
		"placeholder left open":          {inProvider("header X-Api-Key {credential.key"), "header X-Api-Key: "},
		"placeholder without a path":     {inProvider("query key {credential.}"), "query key: "},
		"header that frames the message": {inProvider("header Content-Length {credential.n}"), "Content-Length cannot be set, at Caddyfile:8"},
		"header twice":                   {inProvider("header A {credential.a}\nheader a {credential.b}"), "at Caddyfile:9"},
		"basic twice":                    {inProvider("basic {credential.u} {credential.p}\nbasic {credential.u} {credential.p}"), "basic is given twice, at Caddyfile:8"},
		"basic without a password":       {inProvider("basic {credential.u}"), "wrong argument count or unexpected line ending after '{credential.u}', at Caddyfile:7"},
		"basic written down":             {inProvider("basic me hunter2"), "basic: a secret is not written into the configuration: use {credential.<path>}, {env.NAME} or {file.PATH}, at Caddyfile:7"},
		"basic beside Authorization":     {inProvider("basic {credential.u} {credential.p}\nheader Authorization {credential.a}"), "at Caddyfile:9"},

		"Transit without Vault": {inProvider("jwt {\nalgorithm RS256\nkey vault_transit app\n}"), "provider billing: a key in vault_transit needs 'store vault', at Caddyfile:12"},
		"claim without a value": {inProvider("jwt {\nalgorithm RS256\nclaim iss\n}"), "wrong argument count or unexpected line ending after 'iss', at Caddyfile:9"},

		// oauth2
		"oauth2 twice":                {inProvider("oauth2 {\n" + tokenURL + client + "}\noauth2 {\n}"), "oauth2 is given twice, at Caddyfile:12"},
		"oauth2 with an argument":     {inProvider("oauth2 x"), "wrong argument count or unexpected line ending after 'x', at Caddyfile:7"},
		"oauth2's unknown setting":    {inOAuth2("secret x"), "unrecognized subdirective 'secret' of oauth2, at Caddyfile:8"},
		"no token_url":                {inOAuth2(client), "oauth2: token_url is missing, at Caddyfile:11"},
		"token_url over plain HTTP":   {inOAuth2("token_url http://as.example/token"), "token_url: must be https, unless the host is a loopback address, at Caddyfile:8"},
		"token_url with a password":   {inOAuth2("token_url https://u:p@as.example/token"), "token_url: a URL with user information or a fragment, at Caddyfile:8"},
		"no client_id":                {inOAuth2(tokenURL + "client_auth none"), "oauth2: client_id is missing, at Caddyfile:10"},
		"no client secret":            {inOAuth2(tokenURL + "client_id app"), "oauth2: client_auth basic and post need one of client_secret_file and client_secret, at Caddyfile:10"},
		"three client secrets":        {inOAuth2(tokenURL + client + "client_secret_file testdata/files/client_secret\nclient_secret_file testdata/files/client_secret"), "client_secret_file is given twice, at Caddyfile:12"},
		"public client with a secret": {inOAuth2(tokenURL + client + "client_auth none"), "oauth2: client_auth none goes without a client secret, at Caddyfile:12"},
		"client secret written down":  {inOAuth2("client_secret hunter2"), "client_secret: a secret is not written into the configuration: use {credential.<path>}, {env.NAME} or {file.PATH}, at Caddyfile:8"},
		"client secret partly":        {inOAuth2("client_secret hunter2{env.X}"), "client_secret: a secret is not written into the configuration: use {credential.<path>}, {env.NAME} or {file.PATH}, at Caddyfile:8"},
		"client secret not readable":  {inOAuth2("client_secret_file testdata/files/absent"), "client_secret_file: open testdata/files/absent: no such file or directory, at Caddyfile:8"},
		"client_auth unknown":         {inOAuth2(tokenURL + client + "client_auth jwt"), `oauth2: client_auth "jwt" is none of basic, post, none, client_secret_jwt, private_key_jwt, tls_client_auth, at Caddyfile:12`},
		"tls_ca of oauth2 not there":  {inOAuth2("tls_ca testdata/files/absent.pem"), "tls_ca: open testdata/files/absent.pem: no such file or directory, at Caddyfile:8"},
		"client key not there":        {inOAuth2("tls_client_key testdata/files/absent.pem"), "tls_client_key: open testdata/files/absent.pem: no such file or directory, at Caddyfile:8"},
		"tls_ca of oauth2 twice":      {inOAuth2("tls_ca testdata/files/ca.pem\ntls_ca testdata/files/ca.pem"), "tls_ca is given twice, at Caddyfile:9"},
		"client certificate alone":    {inOAuth2(tokenURL + client + "tls_client_cert testdata/files/ca.pem"), "oauth2: tls_client_cert and tls_client_key go together, at Caddyfile:12"},
		"client key alone":            {inOAuth2(tokenURL + client + "tls_client_key testdata/files/ca.pem"), "oauth2: tls_client_cert and tls_client_key go together, at Caddyfile:12"},
		"param twice":                 {inOAuth2("param a b\nparam a c"), "param a is given twice, at Caddyfile:9"},
		"field unknown":               {inOAuth2(tokenURL + client + "credential_field token a"), `oauth2: credential_field: "token" is not a field, at Caddyfile:12`},
		"response field unknown":      {inOAuth2(tokenURL + client + "response_field expires a"), `oauth2: response_field: "expires" is not a field, at Caddyfile:12`},
		"refresh_ahead no duration":   {inOAuth2("refresh_ahead x"), "refresh_ahead: 'x' is not a duration, at Caddyfile:8"},
		"rotation unknown":            {inOAuth2("rotation twice"), `rotation "twice" is none of single_use, grace, none, at Caddyfile:8`},
		"grace without a duration":    {inOAuth2("rotation grace"), "wrong argument count or unexpected line ending after 'grace', at Caddyfile:8"},
		"rotation none with a time":   {inOAuth2("rotation none 3s"), "wrong argument count or unexpected line ending after '3s', at Caddyfile:8"},
		"takeover without a duration": {inOAuth2("takeover"), "wrong argument count or unexpected line ending after 'takeover', at Caddyfile:8"},
		"takeover too short":          {inOAuth2("takeover 14s"), "takeover cannot be below 15s: whoever is to be taken over from may be about to answer, at Caddyfile:8"},
		"takeover of nothing":         {inOAuth2("takeover 0s"), "takeover must be above zero, at Caddyfile:8"},
		"keep_alive too short":        {inOAuth2("keep_alive 59m"), "keep_alive cannot be below 1h0m0s: refresh tokens that end sooner are for sessions, and every tenant's would be spent that often, at Caddyfile:8"},
		"keep_alive never":            {inOAuth2("keep_alive never"), "at Caddyfile:8"},
		"keep_alive without claims":   {inOAuth2("keep_alive 7d\nrotation none"), "one that ends unless it is used is to have another rotation, at Caddyfile:9"},
		"keep_alive of nothing that ends": {
			inOAuth2("token_url https://as.example/token\nclient_id app\nclient_secret {env.SECRET}\ngrant client_credentials\nkeep_alive 7d"),
			"keep_alive goes with grant refresh_token: with client_credentials there is no refresh token that could end, at Caddyfile:13",
		},
		"keep_alive of a login that can be made again": {
			inProvider("login {\nrequest https://a.example/login {\nform user {credential.user}\n}\nkeep_alive 7d\n}"),
			"a login can be made at any time, at Caddyfile:12",
		},
		"takeover twice":               {inOAuth2("takeover never\ntakeover 1m"), "takeover is given twice, at Caddyfile:9"},
		"oauth2 on KV version 1":       {inApp("store vault {\nkv_version 1\nauth token_file /t\n}\nprovider a {\noauth2 {\n" + tokenURL + client + "}\n}"), "provider a: oauth2 needs a store with check-and-set, which kv_version 1 does not have, at Caddyfile:14"},
		"KV version 1 below an oauth2": {inApp("provider a {\noauth2 {\n" + tokenURL + client + "}\n}\nstore vault {\nkv_version 1\nauth token_file /t\n}"), "provider a: oauth2 needs a store with check-and-set, which kv_version 1 does not have, at Caddyfile:14"},

		// the directive
		"no provider named":            {inSite("upstream_auth"), "upstream_auth needs the name of a provider, at Caddyfile:12"},
		"provider not configured":      {inSite("upstream_auth other 127.0.0.1:1"), "no provider 'other' is configured, at Caddyfile:12"},
		"no global option":             {"http://127.0.0.1 {\nupstream_auth a 127.0.0.1:1\n}", "upstream_auth needs the global option upstream_auth with a store and a provider, at Caddyfile:2"},
		"unknown to reverse_proxy too": {inSite("upstream_auth billing 127.0.0.1:1 {\nretries 3\n}"), "unrecognized subdirective retries, at Caddyfile:13"},
		"tenant with a bad name":       {inSite("upstream_auth billing 127.0.0.1:1 {\ntenant a/b\n}"), `tenant: tenant name is not valid, at Caddyfile:13`},
		"tenant of two in one":         {inSite("upstream_auth billing 127.0.0.1:1 {\ntenant {header.A}{header.B}\n}"), `tenant: nothing stands between {http.request.header.A} and the next placeholder, so that two pairs of values make one tenant, at Caddyfile:13`},
		"cookies perhaps":              {inSite("upstream_auth billing 127.0.0.1:1 {\ncookies maybe\n}"), `cookies: 'maybe' is none of pass, drop, at Caddyfile:13`},
		"Host of somebody else":        {inSite("upstream_auth billing http://127.0.0.1:1 {\nheader_up Host api.example.com\n}"), `header_up Host api.example.com, which is not an upstream's, needs allowed_hosts`},
		"upstreams without a host":     {inSite("upstream_auth billing :1 http://127.0.0.1:2"), `upstreams with and without a host need allowed_hosts`},
		"token lifetime of authorize":  {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize jwt {\nmax_token_lifetime 0\n}\n}"), `max_token_lifetime must be above zero, at Caddyfile:14`},
		"scrub everything":             {inSite("upstream_auth billing 127.0.0.1:1 {\nscrub all\n}"), `scrub: 'all' is none of headers, body, off, at Caddyfile:13`},
		"forwarded_headers perhaps":    {inSite("upstream_auth billing 127.0.0.1:1 {\nforwarded_headers maybe\n}"), `forwarded_headers: 'maybe' is neither on nor off, at Caddyfile:13`},
		"tenant twice":                 {inSite("upstream_auth billing 127.0.0.1:1 {\ntenant {query.a}\ntenant {query.b}\n}"), "tenant is given twice, at Caddyfile:14"},
		"tenants without one":          {inSite("upstream_auth billing 127.0.0.1:1 {\ntenants\n}"), "wrong argument count or unexpected line ending after 'tenants', at Caddyfile:13"},
		"tenants with a bad name":      {inSite("upstream_auth billing 127.0.0.1:1 {\ntenants a/b\n}"), `tenants: "a/b": tenant name is not valid, at Caddyfile:13`},
		"tenants without the fixed":    {inSite("upstream_auth billing 127.0.0.1:1 {\ntenants globex initech\ntenant acme\n}"), "tenants: 'acme', which is the tenant of all requests, is not among them, at Caddyfile:13"},
		"replay without a matcher":     {inSite("upstream_auth billing 127.0.0.1:1 {\nreplay\n}"), "wrong argument count or unexpected line ending after 'replay', at Caddyfile:13"},
		"replay by no matcher":         {inSite("upstream_auth billing 127.0.0.1:1 {\nreplay methods GET\n}"), "getting matcher module 'methods': module not registered: http.matchers.methods, at Caddyfile:13"},
		"retry_after twice":            {inProvider("retry_after\nretry_after"), "retry_after is given twice, at Caddyfile:8"},
		"retry_after a strange field":  {inProvider("retry_after {x}"), "retry_after: '{x}' is not the name of a header field, at Caddyfile:7"},
		"retry_after to success":       {inProvider("retry_after {\nstatus 200\n}"), "retry_after: status: 200 is not the status code of a refusal, at Caddyfile:8"},
		"retry_after to no status":     {inProvider("retry_after {\nstatus many\n}"), "retry_after: status: 'many' is not the status code of a final response, at Caddyfile:8"},
		"retry_after in a while":       {inProvider("retry_after {\nwait soon\n}"), "wait: 'soon' is not a duration, at Caddyfile:8"},
		"retry_after too long":         {inProvider("retry_after {\nwait 2m\n}"), "retry_after: wait is longer than longest, 1m0s, at Caddyfile:8"},
		"retry_after remaining spaces": {inProvider("retry_after {\nremaining \"a b\"\n}"), "retry_after: remaining: 'a b' is not the name of a header field, at Caddyfile:8"},
		"retry_after something else":   {inProvider("retry_after {\nretries 3\n}"), "unrecognized subdirective 'retries' of retry_after, at Caddyfile:8"},
		"forward with an argument":     {inAllowed("upstream_auth_forward billing {\n}"), "wrong argument count or unexpected line ending after 'billing', at Caddyfile:13"},
		"forward for no provider":      {inAllowed("upstream_auth_forward {\ntenant acme\n}"), "providers: none is named, to whose allowed_hosts requests are intercepted, at Caddyfile:13"},
		"forward for an unknown one":   {inAllowed("upstream_auth_forward {\nproviders biling\n}"), "no provider 'biling' is configured, at Caddyfile:13"},
		"forward without hosts":        {inSite("upstream_auth_forward {\nproviders billing\n}"), "an upstream named by {upstream_auth.forward_address} needs allowed_hosts in the provider, at Caddyfile:12"},
		"forward: tunnel without port": {inAllowed("upstream_auth_forward {\nproviders billing\ntunnel git.example.org\n}"), "tunnel: git.example.org has no port, at Caddyfile:15"},
		"forward: tunnel to no host":   {inAllowed("upstream_auth_forward {\nproviders billing\ntunnel *:443\n}"), `tunnel: "*:443" is not a host name, *.host name or IP address with an optional port, at Caddyfile:15`},
		"forward: private perhaps":     {inAllowed("upstream_auth_forward {\nproviders billing\nprivate maybe\n}"), "private: 'maybe' is neither on nor off, at Caddyfile:15"},
		"forward: unknown":             {inAllowed("upstream_auth_forward {\nproviders billing\ntunel a:1\n}"), "unrecognized subdirective tunel, at Caddyfile:15"},
		"forward: bad tenant":          {inAllowed("upstream_auth_forward {\nproviders billing\ntenant a/b\n}"), "tenant: tenant name is not valid, at Caddyfile:15"},
		"forward: another upstream":    {inAllowed("upstream_auth_forward {\nproviders billing\nto https://api.example.com\n}"), "requests to a proxy say themselves where they go: there can be no upstream, at Caddyfile:13"},
		"forward: upstream":            {inAllowed("upstream_auth_forward {\nproviders billing\nto https://evil.example\n}"), "upstream evil.example:443 is not among allowed_hosts of provider billing, at Caddyfile:15"},
		"replay_max_body no size":      {inSite("upstream_auth billing 127.0.0.1:1 {\nreplay_max_body much\n}"), "replay_max_body: 'much' is not a size, at Caddyfile:13"},
		"replay_memory twice":          {inSite("upstream_auth billing 127.0.0.1:1 {\nreplay_memory 1\nreplay_memory 2\n}"), "replay_memory is given twice, at Caddyfile:14"},
		"replay_dir without a path":    {inSite("upstream_auth billing 127.0.0.1:1 {\nreplay_dir\n}"), "wrong argument count or unexpected line ending after 'replay_dir', at Caddyfile:13"},
		"refresh_on nothing":           {inSite("upstream_auth billing 127.0.0.1:1 {\nrefresh_on\n}"), "wrong argument count or unexpected line ending after 'refresh_on', at Caddyfile:13"},
		"refresh_on twice":             {inSite("upstream_auth billing 127.0.0.1:1 {\nrefresh_on 401\nrefresh_on 403\n}"), "refresh_on is given twice, at Caddyfile:14"},
		"refresh_on an interim status": {inSite("upstream_auth billing 127.0.0.1:1 {\nrefresh_on 101\n}"), "refresh_on: '101' is not the status code of a final response, at Caddyfile:13"},
		"refresh_on no matcher":        {inSite("upstream_auth billing 127.0.0.1:1 {\nrefresh_on @expired\n}"), "refresh_on: no response matcher @expired is defined, at Caddyfile:13"},
		"refresh_on two matchers":      {inSite("upstream_auth billing 127.0.0.1:1 {\n@a status 401\nrefresh_on @a 403\n}"), "refresh_on takes status codes or one response matcher, at Caddyfile:14"},
		"upstream named by a request":  {inSite("upstream_auth billing {header.X-Host}:443"), "an upstream named by {http.request.header.X-Host} needs allowed_hosts in the provider, at Caddyfile:12"},
		"dynamic upstream named so":    {inSite("upstream_auth billing {\ndynamic a {upstream_auth.credential.host} 443\n}"), "an upstream named by {upstream_auth.credential.host} needs allowed_hosts in the provider, at Caddyfile:14"},
		"upstream elsewhere":           {inAllowed("upstream_auth billing https://api.example.com {\nto https://evil.example\n}"), "upstream evil.example:443 is not among allowed_hosts of provider billing, at Caddyfile:14"},
		"socket elsewhere":             {inAllowed("upstream_auth billing unix//run/api.sock"), "upstream unix//run/api.sock is not among allowed_hosts of provider billing, at Caddyfile:13"},
		"server name elsewhere":        {inAllowed("upstream_auth billing https://api.example.com {\ntransport http {\ntls_server_name evil.example\n}\n}"), "upstream evil.example:443 is not among allowed_hosts of provider billing, at Caddyfile:13"},
		"upstream in the clear":        {inSite("upstream_auth billing http://api:8080"), "upstream api:8080 is not https: write https://, or insecure_http if the credential may go there in the clear, at Caddyfile:12"},
		"upstream in the clear, h2c":   {inSite("upstream_auth billing {\nto h2c://127.0.0.1:1 h2c://10.0.0.1:1\n}"), "upstream 10.0.0.1:1 is not https: write https://, or insecure_http if the credential may go there in the clear, at Caddyfile:13"},
		"upstream's port without TLS":  {inSite("upstream_auth billing https://api.example.com:8443 {\ntransport http {\ntls_except_ports 8443\n}\n}"), "upstream api.example.com:8443 is not https: write https://, or insecure_http if the credential may go there in the clear, at Caddyfile:12"},
		"insecure_http twice":          {inSite("upstream_auth billing 127.0.0.1:1 {\ninsecure_http\ninsecure_http\n}"), "insecure_http is given twice, at Caddyfile:14"},
		"insecure_http off":            {inProvider("insecure_http off"), "wrong argument count or unexpected line ending after 'off', at Caddyfile:7"},
		"no upstream":                  {inSite("upstream_auth billing {\ntenant acme\n}"), "upstream_auth needs an upstream, as in: upstream_auth billing https://api.example.com, at Caddyfile:12"},
		"dynamic upstream":             {inSite("upstream_auth billing {\ndynamic srv _api._tcp.example.com\n}"), "dynamic upstreams need allowed_hosts in the provider, at Caddyfile:14"},
		"authorize nothing":            {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize\n}"), "wrong argument count or unexpected line ending after 'authorize', at Caddyfile:13"},
		"authorize by magic":           {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize magic\n}"), "authorize: 'magic' is none of jwt, mtls, secret and peer, at Caddyfile:13"},
		"authorize twice":              {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize peer {\nuid 1\n}\nauthorize peer {\nuid 2\n}\n}"), "authorize peer is given twice, at Caddyfile:16"},
		"authorize jwt without keys":   {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize jwt {\nissuer a\n}\n}"), "authorize jwt: token is missing: a shared secret (hs256) or a key set (jwks), at Caddyfile:13"},
		"authorize jwt's unknown":      {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize jwt {\ntokens a\n}\n}"), "unrecognized subdirective 'tokens' of authorize jwt, at Caddyfile:14"},
		"authorize jwt in no header":   {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize jwt {\nheader X_Token\ntoken hs256 {\nsecret_file testdata/files/client_secret\n}\n}\n}"), "authorize jwt: header: 'X_Token' is not the name of a field that Caddy passes on, at Caddyfile:13"},
		"authorize mtls nobody":        {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize mtls\n}"), "authorize mtls names nobody, at Caddyfile:13"},
		"authorize mtls by uid":        {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize mtls {\nuid 1\n}\n}"), "'uid' is none of uri, dns, email, at Caddyfile:14"},
		"authorize mtls a bad tenant":  {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize mtls {\ndns a a/b\n}\n}"), `authorize mtls: dns: "a/b": tenant name is not valid, at Caddyfile:13`},
		"authorize secret nowhere":     {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize secret\n}"), "authorize secret: it needs one of field and file, at Caddyfile:13"},
		"authorize secret for all":     {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize secret {\nfile /run/secret\n}\n}"), "authorize secret: file has no {tenant} in it, so that all tenants would have one secret, at Caddyfile:13"},
		"authorize two in one header":  {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize jwt {\ntoken hs256 {\nsecret_file testdata/files/client_secret\n}\n}\nauthorize secret {\nfield a\n}\n}"), "authorize jwt and authorize secret need header fields of their own, and not both Authorization, at Caddyfile:18"},
		"authorize peer by name":       {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize peer {\nuid root\n}\n}"), "authorize peer: uid: 'root' is not a number, at Caddyfile:13"},
		"authorize peer nobody":        {inSite("upstream_auth billing 127.0.0.1:1 {\nauthorize peer {\n}\n}"), "authorize peer names nobody, at Caddyfile:13"},
		"upstream named by credential": {inSite("upstream_auth billing {upstream_auth.credential.host}:443"), "an upstream named by {upstream_auth.credential.host} needs allowed_hosts in the provider, at Caddyfile:12"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := adapt(t, c.caddyfile)
			if err == nil {
				t.Fatalf("adapted without an error, want %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error\n\t%v\nwant\n\t%s", err, c.want)
			}
			if !strings.Contains(err.Error(), "at Caddyfile:") {
				t.Errorf("error %q does not name its place", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q quotes a secret", err)
			}
		})
	}
}
