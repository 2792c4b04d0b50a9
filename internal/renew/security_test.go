package renew_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// SECURITY.md promises nothing that no test is named for.
func TestSecurityPageNamesTestsThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile("((?:`(?:Test|Fuzz)\\w+`(?:, )?)+) in \\[\\w+\\]\\(([^)]+)\\)").FindAllStringSubmatch(string(page), -1)
	named := 0
	for _, link := range links {
		source, err := os.ReadFile(filepath.Join(root, link[2]))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, name := range regexp.MustCompile(`(?:Test|Fuzz)\w+`).FindAllString(link[1], -1) {
			named++
			if !strings.Contains(string(source), "func "+name+"(") {
				t.Errorf("%s has no %s", link[2], name)
			}
		}
	}
	if want := strings.Count(string(page), "`Test") + strings.Count(string(page), "`Fuzz"); named != want || named == 0 {
		t.Errorf("%d of %d tests are linked", named, want)
	}
}
