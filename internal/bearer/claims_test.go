package bearer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestExpiredIsInvalid(t *testing.T) {
	if !errors.Is(ErrExpired, ErrInvalid) {
		t.Error("ErrExpired is no ErrInvalid")
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := withSecret(t)
		now := time.Now().Unix() // a whole second
		if time.Now().Nanosecond() != 0 {
			t.Fatal("the clock does not start at a whole second")
		}
		at := func(format string, offsets ...any) string {
			for i, offset := range offsets {
				offsets[i] = now + int64(offset.(int))
			}
			return fmt.Sprintf(format, offsets...)
		}
		for name, c := range map[string]struct {
			times string
			want  error // nil: accepted
		}{
			"expires later":                 {at(`"exp":%d`, 1), nil},
			"expired 29 s ago":              {at(`"exp":%d`, -29), nil},
			"expired 30 s ago":              {at(`"exp":%d`, -30), ErrExpired},
			"expired 30 s ago, and not yet": {at(`"exp":%d,"nbf":%d`, -30, 60), errNotYet},
			"expires in 1000 years":         {at(`"exp":%d`, 1000*365*24*3600), nil},
			"expiry with a fraction":        {at(`"exp":%d.9`, -30), ErrExpired},
			"expiry with an exponent":       {`"exp":1e10`, nil},
			"no expiry":                     {`"nbf":1`, errNoExpiry},
			"expiry null":                   {`"exp":null`, errNoExpiry},
			"expiry zero":                   {`"exp":0`, ErrExpired},
			"expiry negative":               {`"exp":-1`, ErrExpired},
			"expiry a string":               {at(`"exp":"%d"`, 60), errClaims},
			"expiry true":                   {`"exp":true`, errClaims},
			"expiry an array":               {at(`"exp":[%d]`, 60), errClaims},
			"expiry that overflows":         {`"exp":9223372036854775807`, errClaims},
			"expiry that is infinite":       {`"exp":1e999`, errPayload},
			"EXP for exp":                   {at(`"EXP":%d`, 60), errNoExpiry},
			"valid in 29 s":                 {at(`"exp":%d,"nbf":%d`, 60, 29), nil},
			"valid in 30 s":                 {at(`"exp":%d,"nbf":%d`, 60, 30), errNotYet},
			"never valid":                   {at(`"exp":%d,"nbf":4e18`, 60), errNotYet},
			"nbf that overflows":            {at(`"exp":%d,"nbf":1e30`, 60), errClaims},
			"nbf a string":                  {at(`"exp":%d,"nbf":"%d"`, 60, 0), errClaims},
			"issued in 29 s":                {at(`"exp":%d,"iat":%d`, 60, 29), nil},
			"issued in 30 s":                {at(`"exp":%d,"iat":%d`, 60, 30), errNotYet},
			"issued long ago":               {at(`"exp":%d,"iat":1`, 60), nil},
			"iat a string":                  {at(`"exp":%d,"iat":"%d"`, 60, 0), errClaims},
		} {
			token := sign(`{"alg":"HS256"}`, fmt.Sprintf(`{"id":%q,%s}`, tenant, c.times), secret)
			if _, err := v.Verify(t.Context(), "Bearer "+token); !errors.Is(err, c.want) {
				t.Errorf("%s: error %v, want %v", name, err, c.want)
			}
		}

		expired := sign(`{"alg":"HS256"}`, fmt.Sprintf(`{"id":%q,"exp":%d}`, tenant, now), secret)
		time.Sleep(leeway)
		wantAccepted(t, v, expired)
		time.Sleep(time.Nanosecond)
		wantRefused(t, v, expired, ErrExpired)

		early := now + 90
		notYet := sign(`{"alg":"HS256"}`, fmt.Sprintf(`{"id":%q,"exp":%d,"nbf":%d,"iat":%d}`, tenant, now+1000, early, early), secret)
		time.Sleep(leeway + 1)
		wantRefused(t, v, notYet, errNotYet)
		time.Sleep(time.Nanosecond)
		wantAccepted(t, v, notYet)
	})
}

// A token that leaks is worth something until it expires.
func TestTokenThatIsGoodForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const year9999 = 253_402_300_799
		now := time.Now().Unix()
		for name, c := range map[string]struct {
			longest Lifetime
			times   string
			want    error // nil: accepted
		}{
			"a day":                           {DefaultMaxLifetime, fmt.Sprintf(`"exp":%d`, now+24*3600+29), nil},
			"a day and half a minute":         {DefaultMaxLifetime, fmt.Sprintf(`"exp":%d`, now+24*3600+30), errLifetime},
			"the year 9999":                   {DefaultMaxLifetime, fmt.Sprintf(`"exp":%d`, year9999), errLifetime},
			"beyond all years":                {DefaultMaxLifetime, `"exp":1e17`, errLifetime},
			"a year that is nearly over":      {DefaultMaxLifetime, fmt.Sprintf(`"iat":%d,"exp":%d`, now-364*24*3600, now+24*3600), errLifetime},
			"a day, issued by a fast clock":   {DefaultMaxLifetime, fmt.Sprintf(`"iat":%d,"exp":%d`, now+29, now+24*3600+29), nil},
			"an hour":                         {Lifetime(time.Minute), fmt.Sprintf(`"exp":%d`, now+3600), errLifetime},
			"a year, where that is what goes": {366 * 24 * Lifetime(time.Hour), fmt.Sprintf(`"iat":%d,"exp":%d`, now, now+365*24*3600), nil},
		} {
			v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, secret)}, MaxLifetime: c.longest})
			token := sign(`{"alg":"HS256"}`, fmt.Sprintf(`{"id":%q,%s}`, tenant, c.times), secret)
			if _, err := v.Verify(t.Context(), "Bearer "+token); !errors.Is(err, c.want) {
				t.Errorf("%s: error %v, want %v", name, err, c.want)
			}
		}
	})
	v, err := New(Config{Token: Token{SecretFile: writeFile(t, secret)}})
	if err != nil {
		t.Fatal(err)
	}
	wantAccepted(t, v, sign(`{"alg":"HS256"}`, claims(""), secret))
	wantRefused(t, v, sign(`{"alg":"HS256"}`, lasting, secret), errLifetime)
}

func TestIssuerAndAudience(t *testing.T) {
	for name, c := range map[string]struct {
		issuer, audience string // of the configuration
		claims           string
		want             error // nil: accepted
	}{
		"not configured":           {"", "", `,"aud":"any"`, nil},
		"issuer":                   {issuer, "", ``, nil},
		"another issuer":           {"https://as.example", "", ``, errIssuer},
		"part of the issuer":       {"canary", "", ``, errIssuer},
		"issuer and more":          {issuer + "/", "", ``, errIssuer},
		"issuer in another case":   {strings.ToUpper(issuer), "", ``, errIssuer},
		"audience":                 {"", "us", `,"aud":"us"`, nil},
		"audience among others":    {"", "us", `,"aud":["them","us"]`, nil},
		"another audience":         {"", "us", `,"aud":"canary-them"`, errAudience},
		"other audiences":          {"", "us", `,"aud":["canary-them","u","us "]`, errAudience},
		"no audience":              {"", "us", ``, errAudience},
		"empty audience":           {"", "us", `,"aud":""`, errAudience},
		"no audiences":             {"", "us", `,"aud":[]`, errAudience},
		"audience in another case": {"", "us", `,"aud":"US"`, errAudience},
		"audience is an object":    {"", "us", `,"aud":{"us":"us"}`, errClaims},
		"audience is a number":     {"", "1", `,"aud":1`, errClaims},
		"audience in a list of it": {"", "us", `,"aud":[["us"]]`, errClaims},
		"AUD for aud":              {"", "us", `,"AUD":"us"`, errAudience},
		"both":                     {issuer, "us", `,"aud":"us"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, secret)}, Issuer: c.issuer, Audience: c.audience})
			token := sign(`{"alg":"HS256"}`, claims(c.claims), secret)
			if c.want != nil {
				wantRefused(t, v, token, c.want)
				return
			}
			wantAccepted(t, v, token)
		})
	}
	v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, secret)}, Issuer: issuer})
	for _, c := range []struct {
		claim string
		want  error
	}{{``, errIssuer}, {`,"iss":""`, errIssuer}, {`,"iss":null`, errIssuer}, {`,"iss":["canary-issuer"]`, errClaims}} {
		wantRefused(t, v, sign(`{"alg":"HS256"}`, `{"id":"acme","exp":1e10`+c.claim+`}`, secret), c.want)
	}
}

func TestTenantClaim(t *testing.T) {
	for name, c := range map[string]struct {
		path    string
		payload string // without its braces and the expiry
		want    Caller
		err     error
	}{
		"default":               {"", `"id":"acme"`, Caller{Tenant: "acme"}, nil},
		"another claim":         {"sub", `"sub":"acme","id":"other"`, Caller{Tenant: "acme"}, nil},
		"inside an object":      {"org.name", `"org":{"name":"acme"}`, Caller{Tenant: "acme"}, nil},
		"inside an array":       {"orgs.1", `"orgs":["other","acme"]`, Caller{Tenant: "acme"}, nil},
		"name that is a URL":    {`https://as\.example/tenant`, `"https://as.example/tenant":"acme"`, Caller{Tenant: "acme"}, nil},
		"escaped name":          {"", `"\u0069d":"acme"`, Caller{Tenant: "acme"}, nil},
		"escaped value":         {"", `"id":"\u0061cme"`, Caller{Tenant: "acme"}, nil},
		"missing":               {"", `"sub":"acme"`, Caller{}, errNoTenant},
		"deeper than it says":   {"", `"a":{"id":"acme"}`, Caller{}, errNoTenant},
		"name in another case":  {"", `"ID":"acme"`, Caller{}, errNoTenant},
		"empty":                 {"", `"id":""`, Caller{}, errTenant},
		"null":                  {"", `"id":null`, Caller{}, errTenant},
		"number":                {"", `"id":12345`, Caller{}, errTenant},
		"true":                  {"", `"id":true`, Caller{}, errTenant},
		"array":                 {"", `"id":["acme"]`, Caller{}, errTenant},
		"object":                {"", `"id":{"id":"acme"}`, Caller{}, errTenant},
		"every tenant":          {"", `"id":"*"`, Caller{}, errTenant},
		"list":                  {"", `"id":"acme,globex"`, Caller{}, errTenant},
		"path":                  {"", `"id":"../canary"`, Caller{}, errTenant},
		"newline behind":        {"", `"id":"acme\n"`, Caller{}, errTenant},
		"nul behind":            {"", `"id":"acme\u0000"`, Caller{}, errTenant},
		"too long":              {"", `"id":"` + strings.Repeat("a", 129) + `"`, Caller{}, errTenant},
		"nobody is an operator": {"", `"id":"acme","":"","role":"","operator":true`, Caller{Tenant: "acme"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, secret)}, TenantClaim: c.path})
			wantOutcome(t, v, c.payload, c.want, c.err)
		})
	}
}

func TestOperatorClaim(t *testing.T) {
	operator, both := Caller{Operator: true}, Caller{Tenant: "acme", Operator: true}
	for name, c := range map[string]struct {
		path, payload string
		want          Caller
		err           error
	}{
		"operator":                      {"role", `"role":"op"`, operator, nil},
		"operator with a tenant":        {"role", `"role":"op","id":"acme"`, both, nil},
		"one of several roles":          {"role", `"role":["a","op"]`, operator, nil},
		"inside an object":              {"realm.roles", `"realm":{"roles":["op"]}`, operator, nil},
		"collected from objects":        {"roles.#.name", `"roles":[{"name":"a"},{"name":"op"}]`, operator, nil},
		"another role":                  {"role", `"role":"user","id":"acme"`, Caller{Tenant: "acme"}, nil},
		"other roles":                   {"role", `"role":["user","operator","o","op "],"id":"acme"`, Caller{Tenant: "acme"}, nil},
		"no role":                       {"role", `"id":"acme"`, Caller{Tenant: "acme"}, nil},
		"role in another case":          {"role", `"role":"OP","id":"acme"`, Caller{Tenant: "acme"}, nil},
		"claim in another case":         {"role", `"Role":"op","id":"acme"`, Caller{Tenant: "acme"}, nil},
		"words":                         {"role", `"role":"user op","id":"acme"`, Caller{Tenant: "acme"}, nil},
		"array in an array":             {"role", `"role":[["op"]],"id":"acme"`, Caller{Tenant: "acme"}, nil},
		"object":                        {"role", `"role":{"op":"op"},"id":"acme"`, Caller{Tenant: "acme"}, nil},
		"null":                          {"role", `"role":null,"id":"acme"`, Caller{Tenant: "acme"}, nil},
		"neither operator nor tenant":   {"role", `"role":"user"`, Caller{}, errNoTenant},
		"operator with a bad tenant":    {"role", `"role":"op","id":"../canary"`, Caller{}, errTenant},
		"operator whose tenant is null": {"role", `"role":"op","id":null`, Caller{}, errTenant},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, secret)}, Operators: Operators{Claim: c.path, Value: "op"}})
			wantOutcome(t, v, c.payload, c.want, c.err)
		})
	}
	v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, secret)}, Operators: Operators{Claim: "level", Value: "1"}})
	wantOutcome(t, v, `"level":1,"id":"acme"`, Caller{Tenant: "acme"}, nil)
	wantOutcome(t, v, `"level":[1,true],"id":"acme"`, Caller{Tenant: "acme"}, nil)
}

func wantOutcome(t *testing.T, v *Verifier, payload string, want Caller, err error) {
	t.Helper()
	token := sign(`{"alg":"HS256"}`, fmt.Sprintf(`{"exp":%d,%s}`, time.Now().Add(time.Minute).Unix(), payload), secret)
	if err != nil {
		wantRefused(t, v, token, err)
		return
	}
	wantCaller(t, v, token, want)
}
