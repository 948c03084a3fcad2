"""The frame of a page of HTML that needs nothing else: no request leaves it.

Style and script are allowed by their checksums in the page's own Content-Security-Policy and nothing else is, so that
even a text that were taken for markup could do nothing.
"""

import base64
import hashlib
from html import escape


def page_of(title: str, style: str, body: str, script: str, language: str | None = None) -> str:
    """Return a whole page.

    Args:
        title: Text, escaped here.
        style: CSS.
        body: HTML, with every text in it escaped.
        script: JavaScript, without which the page must read as well.
        language: Code of the page's language, where it has one.
    """
    policy = f"default-src 'none'; style-src {_checksum(style)}; script-src {_checksum(script)}; base-uri 'none'"
    text = f"""<!doctype html>
<html{f' lang="{language}"' if language else ""}>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
{body}<script>{script}</script>
</body>
</html>
"""
    # half characters, which JSON can hold and UTF-8 cannot, are shown as what they are: unreadable
    return text.encode("utf-8", "replace").decode()


def _checksum(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
