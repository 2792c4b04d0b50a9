package bearer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestRotatedSecretCountsAtOnce(t *testing.T) {
	first, second := "first-"+secret, "second-"+secret
	path := writeFile(t, first)
	v := newVerifier(t, Config{Token: Token{SecretFile: path}})
	one, two := sign(`{"alg":"HS256"}`, claims(""), first), sign(`{"alg":"HS256"}`, claims(""), second)
	wantAccepted(t, v, one)
	wantRefused(t, v, two, errSignature)
	replaceFile(t, path, second)
	wantAccepted(t, v, two)
	wantRefused(t, v, one, errSignature)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, v, two, ErrUnavailable)
	replaceFile(t, path, second)
	wantAccepted(t, v, two)
}

func TestSecretInAFile(t *testing.T) {
	for name, c := range map[string]struct{ content, secret string }{
		"no newline":      {secret, secret},
		"newline":         {secret + "\n", secret},
		"CR LF":           {secret + "\r\n", secret},
		"one newline off": {secret + "\n\n", secret + "\n"},
		"spaces stay":     {" " + secret + " ", " " + secret + " "},
		"more":            {strings.Repeat(secret, 10), strings.Repeat(secret, 10)},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, c.content), Algorithms: []string{"HS256", "HS384", "HS512"}}})
			for _, algorithm := range []string{"HS256", "HS384", "HS512"} {
				wantAccepted(t, v, sign(fmt.Sprintf(`{"alg":%q}`, algorithm), claims(""), c.secret))
			}
			wantRefused(t, v, sign(`{"alg":"HS256"}`, claims(""), c.secret+"x"), errSignature)
		})
	}
}

// Who sees one token may guess at a short secret for as long as they like.
func TestSecretShorterThanTheHashAcceptsNothing(t *testing.T) {
	for algorithm, least := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		for _, size := range []int{1, least - 1, least} {
			config := Config{Token: Token{SecretFile: writeFile(t, secret[:size]+"\n"), Algorithms: []string{algorithm}}, Issuer: issuer}
			v := newVerifier(t, config)
			token := sign(fmt.Sprintf(`{"alg":%q}`, algorithm), claims(""), secret[:size])
			finding := config.Diagnose("the API")[0]
			checkText(t, errors.New(finding.Detail+finding.Remedy), "")
			if size < least {
				wantRefused(t, v, token, ErrUnavailable)
				wantRefused(t, v, token, errShortSecret)
			} else {
				wantAccepted(t, v, token)
			}
			if finding.OK != (size == least) || finding.OK != (finding.Remedy == "") {
				t.Errorf("%s, %d bytes: %+v", algorithm, size, finding)
			}
		}
	}
}

func TestDiagnosisOfWhomTokensAreFor(t *testing.T) {
	shared, keys := Token{SecretFile: writeFile(t, secret)}, Token{KeySetFile: "absent", Algorithms: []string{"ES256"}}
	for _, c := range []struct {
		token            Token
		issuer, audience string
		wrong            string // empty: nothing
	}{
		{shared, "", "", "any issuer"},
		{shared, issuer, "", ""},
		{shared, "", "us", ""},
		{keys, "", "", "any issuer"},
		{keys, issuer, "", "other services"},
		{keys, issuer, "us", ""},
		{keys, "", "us", ""},
	} {
		config := Config{Token: c.token, Issuer: c.issuer, Audience: c.audience}
		if f := config.Diagnose("the API")[0]; f.OK != (c.wrong == "") || !strings.Contains(f.Detail, c.wrong) {
			t.Errorf("issuer %q, audience %q: %+v", c.issuer, c.audience, f)
		}
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	large := keySetOf(jwk(t, p256().Public(), "")) + strings.Repeat(" ", maxKeySet)
	for name, c := range map[string]struct {
		path string
		set  bool
		want error
	}{
		"no secret":         {t.TempDir() + "/none", false, fs.ErrNotExist},
		"empty secret":      {writeFile(t, ""), false, errEmptySecret},
		"secret of newline": {writeFile(t, "\r\n"), false, errEmptySecret},
		"large secret":      {writeFile(t, strings.Repeat("canary", 20000)), false, errFileTooLarge},
		"directory":         {t.TempDir(), false, errNotRegular},
		"device":            {os.DevNull, false, errNotRegular},
		"no set":            {t.TempDir() + "/none", true, fs.ErrNotExist},
		"empty set file":    {writeFile(t, ""), true, errNotKeySet},
		"text":              {writeFile(t, "canary"), true, errNotKeySet},
		"large set":         {writeFile(t, large), true, errFileTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			config, token := Config{Token: Token{SecretFile: c.path}}, sign(`{"alg":"HS256"}`, claims(""), secret)
			if c.set {
				config = Config{Token: Token{KeySetFile: c.path, Algorithms: []string{"ES256"}}}
				token = sign(`{"alg":"ES256"}`, claims(""), p256())
			}
			v := newVerifier(t, config)
			wantRefused(t, v, token, ErrUnavailable)
			wantRefused(t, v, token, c.want)
			if _, err := v.Verify(t.Context(), "Bearer "+token); errors.Is(err, ErrInvalid) {
				t.Errorf("error %v blames the token", err)
			}
			if _, err := v.Verify(t.Context(), "Bearer x"); !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v for a token that is none", err)
			}
		})
	}
}

func TestKeySetFileCountsWhenItChanges(t *testing.T) {
	one, two := jwk(t, p256().Public(), `"kid":"1"`), jwk(t, p256Two().Public(), `"kid":"2"`)
	path := writeFile(t, keySetOf(one))
	v := newVerifier(t, Config{Token: Token{KeySetFile: path, Algorithms: []string{"ES256"}}})
	first, second := sign(`{"alg":"ES256","kid":"1"}`, claims(""), p256()), sign(`{"alg":"ES256","kid":"2"}`, claims(""), p256Two())
	wantAccepted(t, v, first)
	wantRefused(t, v, second, errUnknownKey)
	replaceFile(t, path, keySetOf(one, two))
	wantAccepted(t, v, first)
	wantAccepted(t, v, second)
	replaceFile(t, path, keySetOf(two))
	wantRefused(t, v, first, errUnknownKey)
	wantAccepted(t, v, second)
	replaceFile(t, path, "half a")
	wantRefused(t, v, second, ErrUnavailable)
	replaceFile(t, path, keySetOf())
	wantRefused(t, v, second, errUnknownKey)
	replaceFile(t, path, keySetOf(two))
	wantAccepted(t, v, second)
}
