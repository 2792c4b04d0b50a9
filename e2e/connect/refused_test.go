package connect

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// attempt is what somebody tries with a link.
type attempt struct {
	*person
	tenant string
	link   string
}

// back goes with the link to the authorization server and says yes there, and returns
// where the browser is sent back to.
func (a *attempt) back() string {
	a.Helper()
	return a.consent(a.link, a.tenant)
}

// refusal is a way in which no account gets connected.
type refusal struct {
	provider string // default: plain
	try      func(a *attempt) world.Response
	status   int
	title    string
	spent    int  // codes that the token endpoint gets to see
	stored   int  // credentials that were connected, by the tenant's own person
	again    bool // the link can be used still
}

// refuses goes through ways in which no account gets connected, each for a tenant of
// its own.
func (c *connecting) refuses(ways map[string]refusal) {
	for name, way := range ways {
		c.Run(name, func(t *testing.T) {
			c, tenant, provider := c.within(t), world.TenantName(name), way.provider
			if provider == "" {
				provider = plain
			}
			a := &attempt{person: c.newPerson(), tenant: tenant, link: c.link(provider, tenant, "")}
			a.shows(way.try(a), way.status, way.title)
			if got := len(c.Auth.Of(tenant)); got != way.spent {
				t.Errorf("%d token requests, not %d", got, way.spent)
			}
			if got := c.versions(provider, tenant); got != way.stored {
				t.Errorf("%d versions in Vault, not %d", got, way.stored)
			}
			c.Auth.PlayFor(tenant, nil)
			if way.again {
				a.connects(a.link, tenant)
			}
			if way.again || way.stored > 0 {
				c.works(tenant)
			}
		})
	}
}

// Links that somebody made or changed, that are for something else, or that have had
// their time, lead nowhere.
func TestLinksThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	elsewhere := func(provider string) func(a *attempt) world.Response {
		return func(a *attempt) world.Response {
			return a.get(strings.Replace(a.link, "/"+plain+"/", "/"+provider+"/", 1))
		}
	}
	changed := func(change func(url.Values)) func(a *attempt) world.Response {
		return func(a *attempt) world.Response { return a.get(a.with(a.link, change)) }
	}
	c.refuses(map[string]refusal{
		"forged link":     {try: changed(forging("link")), status: 400, title: forgedTitle, again: true},
		"nonsense":        {try: changed(setting("link", "acme")), status: 400, title: forgedTitle},
		"state as a link": {try: stateAsALink, status: 400, title: forgedTitle},
		"no link":         {try: changed(without("link")), status: 400, title: incompleteTitle},
		"doubled link":    {try: changed(doubling("link")), status: 400, title: incompleteTitle},
		"link of another provider": {
			try: elsewhere(brief), status: 403, title: elsewhereTitle, again: true,
		},
		"expired link":   {provider: brief, try: expiredLink, status: 410, title: expiredTitle},
		"used link":      {try: usedLink, status: 410, title: usedTitle, spent: 1, stored: 1},
		"withdrawn link": {try: withdrawnLink, status: 410, title: usedTitle},
		"used link in another tab": {
			try: usedInAnotherTab, status: 410, title: usedTitle, spent: 1, stored: 1,
		},
	})
}

func stateAsALink(a *attempt) world.Response {
	consent, err := url.Parse(a.open(a.link))
	a.Check(err)
	return a.get(a.with(a.link, setting("link", consent.Query().Get("state"))))
}

func expiredLink(a *attempt) world.Response {
	var res world.Response
	a.Soon(5*time.Second, func() error {
		if res = a.get(a.link); res.StatusCode == http.StatusOK {
			return errors.New("the link can be opened still")
		}
		return nil
	})
	return res
}

func usedLink(a *attempt) world.Response {
	a.connects(a.link, a.tenant)
	return a.get(a.link)
}

func withdrawnLink(a *attempt) world.Response {
	late := a.back()
	if res := a.askFor(http.MethodDelete, plain, "/self", map[string]any{"id": a.tenant}, nil); res.StatusCode != http.StatusOK {
		a.Errorf("withdrawing: %d %s", res.StatusCode, res.Content)
	}
	a.shows(a.get(a.link), http.StatusGone, usedTitle)
	return a.get(late)
}

func usedInAnotherTab(a *attempt) world.Response {
	late := a.back()
	a.connects(a.link, a.tenant)
	return a.get(late)
}

// A state that somebody made or changed, that had its callback, or that is another
// browser's or another place's, brings nobody in.
func TestStatesThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	changed := func(change func(url.Values)) func(a *attempt) world.Response {
		return func(a *attempt) world.Response { return a.get(a.with(a.back(), change)) }
	}
	c.refuses(map[string]refusal{
		"forged state":    {try: changed(forging("state")), status: 400, title: forgedTitle, again: true},
		"link as a state": {try: linkAsAState, status: 400, title: forgedTitle, again: true},
		"no state":        {try: changed(without("state")), status: 400, title: incompleteTitle, again: true},
		"doubled state":   {try: changed(doubling("state")), status: 400, title: incompleteTitle, again: true},
		"replayed state":  {try: replayed, status: 410, title: usedTitle, spent: 1, stored: 1},
		"replayed state with its cookie": {
			try: replayedWithCookie, status: 410, title: usedTitle, spent: 1, stored: 1,
		},
		"state after a failure": {try: afterAFailure, status: 410, title: usedTitle, again: true},
		"state of another browser": {
			try:    func(a *attempt) world.Response { return a.newPerson().get(a.back()) },
			status: 403, title: notBegunTitle, again: true,
		},
		"state of another browser that has begun too": {try: anothersCookie, status: 403, title: notBegunTitle, again: true},
		"state of another provider": {
			try: func(a *attempt) world.Response {
				return a.get(strings.Replace(a.back(), callback(plain), callback(brief), 1))
			},
			status: 403, title: elsewhereTitle, again: true,
		},
		"state at another redirect URI": {
			try:    func(a *attempt) world.Response { return a.get(onLocalhost(a.back())) },
			status: 403, title: elsewhereTitle, again: true,
		},
	})
}

func linkAsAState(a *attempt) world.Response {
	u, err := url.Parse(a.link)
	a.Check(err)
	return a.get(a.with(a.back(), setting("state", u.Query().Get("link"))))
}

func replayed(a *attempt) world.Response {
	back := a.back()
	a.shows(a.get(back), http.StatusOK, connectedTitle)
	return a.get(back)
}

func replayedWithCookie(a *attempt) world.Response {
	back := a.back()
	cookies := a.cookies(back)
	a.shows(a.get(back), http.StatusOK, connectedTitle)
	a.remember(back, cookies)
	return a.get(back)
}

func afterAFailure(a *attempt) world.Response {
	back := a.back()
	cookies := a.cookies(back)
	a.shows(a.get(a.with(back, setting("iss", "https://elsewhere.example"))), http.StatusForbidden,
		wrongTitle)
	a.remember(back, cookies)
	return a.get(back)
}

// anothersCookie has the cookie of a flow of its own, under the name of the one that is
// wanted.
func anothersCookie(a *attempt) world.Response {
	back := a.back()
	other := a.newPerson()
	other.open(a.link)
	var own []*http.Cookie
	for _, cookie := range other.cookies(back) {
		own = append(own, &http.Cookie{Name: a.cookies(back)[0].Name, Value: cookie.Value})
	}
	if len(own) != 1 {
		a.Fatalf("%d cookies", len(own))
	}
	other.remember(back, own)
	return other.get(back)
}
