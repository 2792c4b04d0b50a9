package bearer

import (
	"fmt"
	"strings"
	"testing"
)

func TestAuthorizationHeader(t *testing.T) {
	v := withSecret(t)
	token := sign(`{"alg":"HS256"}`, claims(""), secret)
	for name, c := range map[string]struct {
		value string
		want  error // nil: accepted
	}{
		"as usual":              {"Bearer " + token, nil},
		"lower case":            {"bearer " + token, nil},
		"mixed case":            {"bEARER " + token, nil},
		"spaces":                {"Bearer   " + token + " ", nil},
		"none":                  {"", ErrMissing},
		"scheme alone":          {"Bearer", ErrMissing},
		"no token":              {"Bearer ", ErrMissing},
		"spaces for a token":    {"Bearer    ", ErrMissing},
		"another scheme":        {"Basic " + token, ErrMissing},
		"no scheme":             {token, ErrMissing},
		"scheme that goes on":   {"Bearerx " + token, ErrMissing},
		"space before":          {" Bearer " + token, ErrMissing},
		"tab for a space":       {"Bearer\t" + token, ErrMissing},
		"two":                   {"Bearer " + token + ", Bearer " + token, errForm},
		"parameter":             {"Bearer " + token + " a=b", errForm},
		"quotes":                {`Bearer "` + token + `"`, errForm},
		"newline in the token":  {"Bearer " + token[:20] + "\r\n" + token[20:], errForm},
		"newline at the end":    {"Bearer " + token + "\n", errForm},
		"one part":              {"Bearer abcd", errForm},
		"two parts":             {"Bearer " + token[:strings.LastIndexByte(token, '.')], errForm},
		"four parts":            {"Bearer " + token + ".abcd", errForm},
		"encrypted":             {"Bearer " + token + ".abcd.abcd", errForm},
		"dots":                  {"Bearer ..", errAlgorithm},
		"padding":               {"Bearer " + token + "=", errForm},
		"standard base64":       {"Bearer " + token[:len(token)-2] + "+/", errForm},
		"JSON serialization":    {"Bearer " + flattened(token), errForm},
		"JSON, general":         {"Bearer " + general(token), errForm},
		"JSON with dots":        {"Bearer {.}.", errForm},
		"header is an array":    {"Bearer " + sign(`["alg"]`, claims(""), secret), errForm},
		"header is null":        {"Bearer " + sign(`null`, claims(""), secret), errForm},
		"header is empty":       {"Bearer " + sign(``, claims(""), secret), errAlgorithm},
		"header with a tail":    {"Bearer " + sign(`{"alg":"HS256"}{}`, claims(""), secret), errForm},
		"header with two algs":  {"Bearer " + sign(`{"alg":"none","alg":"HS256"}`, claims(""), secret), errForm},
		"the same, escaped":     {"Bearer " + sign(`{"alg":"HS256","\u0061lg":"none"}`, claims(""), secret), errForm},
		"header nested deeply":  {"Bearer " + sign(`{"alg":"HS256","a":`+nested(maxDepth)+`}`, claims(""), secret), errForm},
		"header at the limit":   {"Bearer " + sign(`{"alg":"HS256","a":`+nested(maxDepth-1)+`}`, claims(""), secret), nil},
		"payload nested deeply": {"Bearer " + sign(`{"alg":"HS256"}`, claims(`,"a":`+nested(maxDepth)), secret), errForm},
		"payload at the limit":  {"Bearer " + sign(`{"alg":"HS256"}`, claims(`,"a":`+nested(maxDepth-1)), secret), nil},
		"brackets in a string":  {"Bearer " + sign(`{"alg":"HS256"}`, claims(`,"a":"\"`+strings.Repeat("[{", maxDepth)+`"`), secret), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want != nil {
				wantError(t, v, c.value, c.want)
				return
			}
			if got, err := v.Verify(t.Context(), c.value); err != nil || got.Tenant != tenant {
				t.Errorf("got %+v, error %v", got, err)
			}
		})
	}
}

// A spelling with other bits behind the last byte decodes to the same.
func TestOneTokenHasOneSpelling(t *testing.T) {
	v := withSecret(t)
	token := sign(`{"alg":"HS256"}`, claims(""), secret)
	last := strings.IndexByte(base64Alphabet, token[len(token)-1])
	wantRefused(t, v, token[:len(token)-1]+base64Alphabet[last^1:][:1], errForm)
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func TestSizeIsBounded(t *testing.T) {
	v := withSecret(t)
	wantAccepted(t, v, sized(t, maxToken))
	wantRefused(t, v, sized(t, maxToken+1), errTooLong)
	wantRefused(t, v, strings.Repeat("a", 1<<20), errTooLong)
}

// sized returns a valid token of size bytes.
func sized(t *testing.T, size int) string {
	t.Helper()
	for spaces := range 4 {
		header := `{"alg":"HS256"` + strings.Repeat(" ", spaces) + `}`
		for more := size*3/4 - 400; more < size*3/4; more++ {
			if token := sign(header, claims(`,"a":"`+strings.Repeat("x", more)+`"`), secret); len(token) == size {
				return token
			} else if len(token) > size {
				break
			}
		}
	}
	t.Fatalf("no token of %d bytes", size)
	return ""
}

func TestPayloadIsOneObjectWithoutDuplicates(t *testing.T) {
	v := withSecret(t)
	for name, payload := range map[string]string{
		"empty":              ``,
		"not JSON":           `id=acme`,
		"null":               `null`,
		"array":              `[` + claims("") + `]`,
		"string":             `"acme"`,
		"two":                claims("") + claims(""),
		"cut":                strings.TrimSuffix(claims(""), "}"),
		"tenant twice":       claims(`,"id":"other"`),
		"the same, escaped":  claims(`,"\u0069d":"other"`),
		"expiry twice":       claims(`,"exp":1`),
		"twice, deep inside": claims(`,"a":[{"b":{"c":1,"c":1}}]`),
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, v, sign(`{"alg":"HS256"}`, payload, secret), errPayload)
		})
	}
	wantRefused(t, v, sign(`{"alg":"HS256"}`, strings.Repeat("[", 10000), secret), errForm)
	wantAccepted(t, v, sign(`{"alg":"HS256"}`, " \r\n"+claims(`,"a":{"id":"other"},"ID":"other"`)+"\n", secret))
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// flattened and general are a token in the two JSON serializations (RFC 7515
// section 7.2).
func flattened(token string) string {
	parts := strings.Split(token, ".")
	return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2])
}

func general(token string) string {
	parts := strings.Split(token, ".")
	return fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2])
}
