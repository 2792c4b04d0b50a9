package proxy

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/browser"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/programs"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/sdk"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// anyHost is a site that programs reach by whatever name they have for it.
const anyHost = ":80"

// besidePlain has, below /plain, a bare reverse_proxy to the same upstream: what a client
// or a cache makes of a proxy that does nothing for it.
func besidePlain(upstream string) []world.Site {
	return []world.Site{{
		Name: anyHost, Upstream: upstream,
		Around: "handle_path /page {\nrespond \"a page\"\n}\nhandle_path /plain/* {\nreverse_proxy " + upstream + "\n}\nhandle {\n%s\n}",
	}}
}

// tenantOf tells whose request reached an upstream: by its token, or, where nobody took
// that away, by the header that names the tenant.
func tenantOf(w *world.World, r *http.Request) string {
	if token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); found {
		tenant, _ := w.Auth.Subject(token)
		return tenant
	}
	return r.Header.Get("X-Tenant-ID")
}

// inTurn are the tenants in whose name the same is asked for.
var inTurn = []string{"acme", "globex", "acme"}

// A cache between the app and the sidecar gives no tenant what is another's, although
// requests differ in the tenant's header alone and the upstream says that anybody may
// store its answers. Beside a bare proxy each of these caches does.
func TestCachesOfOthersKeepTenantsApart(t *testing.T) {
	w := world.New(t)
	upstream := w.Serve(upstream.Serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "public, max-age=600")
		fmt.Fprint(rw, "orders of ", tenantOf(w, r))
	})))
	w.Start(world.Configuration{Sites: besidePlain(upstream)})
	for _, tenant := range inTurn[:2] {
		w.Seed(tenant)
	}
	chromium, err := browser.Start(w.Ctx)
	w.Check(err)
	t.Cleanup(func() { w.Check(chromium.Close()) })

	apache := programs.StartApache(t, "ProxyPass / http://"+w.Caddy.Address+"/\nCacheEnable disk /").Address
	nginx := programs.StartNginxCache(t, w.Caddy.Address)
	for name, ask := range map[string]func(*world.World, string) []string{
		"undici's cache, shared":  undici("shared"),
		"undici's cache, private": undici("private"),
		"Chromium's cache":        fromPage(chromium),
		"Apache's mod_cache":      through(apache),
		"nginx's proxy_cache":     through(nginx),
	} {
		t.Run(name, func(t *testing.T) {
			w := w.Within(t)
			if answers := ask(w, "/orders"); !slices.Equal(answers, []string{"orders of acme", "orders of globex", "orders of acme"}) {
				t.Errorf("asked for acme's, globex's and acme's orders, it got %q", answers)
			}
			if answers := ask(w, "/plain/orders"); !slices.Equal(answers, []string{"orders of acme", "orders of acme", "orders of acme"}) {
				t.Errorf("the cache keeps nothing: beside a bare proxy it got %q", answers)
			}
		})
	}
	t.Run("Node's agent, one connection", func(t *testing.T) {
		if answers := nodeAgent(w.Within(t)); !slices.Equal(answers, []string{"orders of acme", "orders of globex", "orders of acme"}) {
			t.Errorf("asked for acme's, globex's and acme's orders, it got %q", answers)
		}
	})
}

// through asks by way of a proxy at an address.
func through(address string) func(*world.World, string) []string {
	return func(w *world.World, path string) (answers []string) {
		client := &http.Transport{DisableKeepAlives: true}
		for _, tenant := range inTurn {
			req, err := http.NewRequestWithContext(w.Ctx, http.MethodGet, "http://"+address+path, nil)
			w.Check(err)
			req.Header.Set("X-Tenant-ID", tenant)
			res, err := client.RoundTrip(req)
			w.Check(err)
			answer, err := io.ReadAll(res.Body)
			w.Check(err)
			w.Check(res.Body.Close())
			answers = append(answers, string(answer))
		}
		return answers
	}
}

// undici asks from Node, with a cache of a type.
func undici(cache string) func(*world.World, string) []string {
	return func(w *world.World, path string) []string {
		return nodeAsks(w, path, `
			import { Agent, interceptors, request } from 'undici'
			const dispatcher = new Agent().compose(interceptors.cache({ type: '`+cache+`' }))
			const ask = async (url, headers) => (await request(url, { dispatcher, headers })).body.text()`)
	}
}

// nodeAgent asks from Node, for all tenants on one connection.
func nodeAgent(w *world.World) []string {
	return nodeAsks(w, "/orders", `
		import http from 'node:http'
		const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
		let socket
		const ask = (url, headers) => new Promise((resolve, reject) => {
			http.get(url, { agent, headers }, async answer => {
				if (socket && socket !== answer.socket) reject(new Error('another connection'))
				socket = answer.socket
				let text = ''
				for await (const part of answer) text += part
				resolve(text)
			}).on('error', reject)
		})
		process.on('beforeExit', () => agent.destroy())`)
}

// nodeAsks asks with the function ask of a script.
func nodeAsks(w *world.World, path, script string) []string {
	output, err := sdk.RunScript(w.Ctx, script+`
		for (const tenant of process.env.TENANTS.split(' ')) console.log(await ask(process.env.ADDRESS, { 'X-Tenant-ID': tenant }))`,
		sdk.Env{"ADDRESS": "http://" + w.Caddy.Address + path, "TENANTS": strings.Join(inTurn, " ")})
	w.Check(err)
	return strings.Split(strings.TrimSpace(string(output)), "\n")
}

// fromPage asks from a page of the same origin.
func fromPage(b *browser.Browser) func(*world.World, string) []string {
	return func(w *world.World, path string) (answers []string) {
		page, err := b.NewPage(w.Ctx)
		w.Check(err)
		defer page.Close()
		_, err = page.Navigate(w.Ctx, "http://"+w.Caddy.Address+"/page")
		w.Check(err)
		for _, tenant := range inTurn {
			var answer string
			w.Check(page.Eval(w.Ctx, fmt.Sprintf("fetch('%s', {headers: {'X-Tenant-ID': '%s'}}).then(answer => answer.text())", path, tenant), &answer))
			answers = append(answers, answer)
		}
		return answers
	}
}
