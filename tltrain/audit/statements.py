"""What failure looks like in plain text: one table of kinds, each a pattern and the longest text it is trusted in.

Programs report failure in few forms, and those are safe anywhere at the start of a line. Services report it in
sentences; the same words occur in the prose, logs and reviews that tools return as data, so a sentence counts only
where it is (nearly) the whole answer. Patterns have no nested repetition: their time is bounded by the text's length.
"""

from __future__ import annotations

import re

from tltrain.audit.kinds import excerpt, kind
from tltrain.audit.languages import said_elsewhere

HEAD, TAIL = 4_000, 1_500
"""Characters looked at: failure is told at the beginning, an exception's own line also at the end."""
ANY = HEAD + TAIL + 1

_REASON_PHRASES = (
    "bad request|unauthori[sz]ed|payment required|forbidden|not found|method not allowed|not acceptable|request timeout|"
    "conflict|gone|precondition failed|payload too large|unsupported media type|unprocessable (?:entity|content)|"
    "too many requests|internal server error|not implemented|bad gateway|service unavailable|gateway time-?out"
)
_INPUT = (
    r"(?:api|access|auth\w*|tool|function|action|method|operation|command|endpoint|service|request|input|output|parameters?|"
    r"params?|arguments?|args|options?|flags?|fields?|values?|formats?|types?|date|time|timestamp|key|token|user\w*|"
    r"pass\w*|credentials?|id|ids|identifiers?|names?|number|index|code|currency|country|city|location|language|latitude|"
    r"longitude|coordinates?|url|uri|path|file|json|xml|yaml|syntax|query|response|symbol|ticker|category|genre|unit|units|"
    r"account|customer|e-?mail|address|phone|zip|postcode|range|character|page|limit|column|table|header|body|payload|"
    r"signature|session|client|credit|content|encoding|region|resource|object|entry|property|attribute|call)"
)
_PLEASE = (
    r"provide|specify|supply|enter|give (?:a|the|an|me)|retry|try again|correct|log ?in|sign in|subscribe|upgrade|authenticate|"
    r"fill in|pass|use (?:a|an|the|one of|only)|call again|include|wait|reduce|(?:check|verify|review|fix|change|ensure|contact|visit) "
)
_IS_NOT = r"(?:is|are|was|were|has|have|does|do|did|could|can|should|must|may|will)(?: not|n['’]t|not)(?: been| be)?"
_ACTOR = (
    r"(?:sorry, )?(?:i|we|you|it|the (?:server|service|request|system|tool|api|database|operation|application|model))"
)

KINDS = (
    kind("bare key of a KeyError", r"'[^'\s]{1,60}(?: [^'\s]{1,30}){0,2}(?<![.!?,])'$", longest=100, cased=True),
    kind(
        "exception",
        r"(?:[Uu]ncaught |[Uu]nhandled |Exception in thread \"[^\"]*\" |[Ee]rror: )?[A-Za-z_][\w.$]{0,100}"
        r"(?:Error|Exception|Failure|Timeout|Interrupt)(?:: |:$|\(['\"(]|\n|$)",
        r"(?:.{0,40}\b)?(?:[Ee]xception|EXCEPTION)(?: (?:occurred|raised|thrown|caught|while|during|in|when)\b|: )",
        r"panic: |thread '[^']*' panicked at |.{1,300}\((?:[A-Z]\w{1,60}(?:Error|Exception))\)$",
        longest=ANY,
        cased=True,
    ),
    kind(
        "exception",
        r"(?m:^Traceback \(most recent call last\))|\n\s+at [\w.$<>]+ ?\(",
        longest=ANY,
        cased=True,
        within=True,
    ),
    kind(
        "exception text",
        r"\w+\(\) (?:got an? |missing \d|takes )|\bunexpected keyword argument|\bname '\w+' is not defined",
        r"object (?:has no attribute|is not (?:callable|iterable|subscriptable|json serializable)|does not support)",
        r"\bis not json serializable|\b(?:index|indices) (?:out of (?:range|bounds)|must be integers)",
        r"\bcould not convert |\binvalid literal for |\bexpecting (?:value|property name|',' delimiter)",
        r"\breferenced before assignment|^(?:integer |float )?(?:division|modulo)(?: or modulo)? by zero|\bunhashable type",
        r"\[errno -?\d+\]|\[winerror \d+\]|\bmax retries exceeded|\bunsupported operand|\bmaximum recursion depth",
        r"\bvalues to unpack|\d+ validation errors? for |\bdoes not match format|^no module named |^cannot import name ",
        r"\bcodec can't (?:de|en)code|^can only concatenate|\bmath domain error|\bundefined method `|\bnullpointer",
        r"cannot (?:read|set) propert\w+ of (?:undefined|null)|\bis not a function$|\bjson\.?parse|\bread timed out",
        longest=1_500,
        within=True,
    ),
    kind(
        "HTTP status",
        r"(?:http(?:/\d(?:\.\d)?)?|(?:http )?status(?: ?code)?|(?:http )?error(?: code)?|response(?: code)?)[ :=(]{1,3}[45]\d\d\b",
        rf"[45]\d\d\b[ :,-]{{1,3}}(?:client error|server error|error\b|{_REASON_PHRASES})",
        rf"(?:{_REASON_PHRASES})[.!]?$",
        r".{0,300}\bstatus(?:[ _]?code)?[ :=]{1,3}(?:of )?[45]\d\d\b",
        rf".{{0,80}}\b(?:received|returned|responded with|replied|got|answered)(?: an?| with)?(?: http)?(?: status)?(?: code)? [45]\d\d (?:{_REASON_PHRASES})",
        r"error code: \d{3,}",
        longest=ANY,
    ),
    kind(
        "shell error",
        r"[^\s:]{1,60}: (?:[^:\n]{1,60}: ){0,2}(?:command not found|no such file or directory|permission denied|cannot \w|"
        r"unrecognized option|(?:invalid|illegal|unknown) option|missing (?:\w+ )?operand|could not resolve|operation not permitted|"
        r"is a directory|not a directory|syntax error|not found|no such|connection (?:refused|timed out|reset)|option .{1,40} is required|\(\d+\) )",
        r".{0,100}\bis not recognized as an internal or external command",
        r"(?:npm|pnpm|yarn) err!|make(?:\[\d+\])?: \*\*\*|fatal: |e: unable|ssh: |docker: ",
        r".{0,80}\bexit(?:ed)?(?: with)?(?: an?)?(?: non-zero)?(?: exit)?(?: status| code)[ :=]{1,2}-?[1-9]",
        r"usage: [^\n]*\n[\s\S]{0,500}error: |[^\n]{0,200}\nusage: |[^\n]{0,200}\ntry '[^'\n]+ --help'",
        longest=ANY,
    ),
    kind(
        "database error",
        r".{0,60}\bsyntax error|.{0,60}\berror in your sql syntax|no such (?:table|column|function|view|index|database)\b|"
        r"(?:ora|sqlstate|pls)[-\[ (]{1,2}\w{5}|error \d{4} \(|msg \d+, level \d+",
        r".{0,60}\bconstraint (?:failed|violat)|.{0,60}\bviolates .{0,40}constraint|duplicate (?:key|entry)\b",
        r".{0,60}\b(?:relation|table|column|view|database|schema|collection)\b.{0,80}(?:does not exist|doesn't exist)",
        longest=ANY,
    ),
    kind(
        "remote call error",
        r".{0,60}\brpc error: code|.{0,80}\bstatuscode\.(?!ok\b)|mcp error|json-?rpc error",
        longest=ANY,
    ),
    kind(
        "error text",
        r"\W{0,4}(?:an? |the |there was an? |there were |tool |api |http |system |server |internal |fatal |runtime |execution |network |"
        r"database |request |response |message |unexpected |unknown |client |input |parsing |parse |type |value |connection |"
        r"timeout |validation |authentication |authorization |permission |syntax |critical )*"
        r"errors?\b(?! (?:message|code|rate|handling|log|bar|page)s?\b|-free|s? (?:is|are|were|was) |s? found: ?0|s?: (?:0|none|no|\[\])\b)"
        r"(?:\]|:|!| [-–]|$|\.$|\.\.\.| (?:occurred|executing|while|when|during|in (?:tool|function|the)|calling|fetching|processing|"
        r"getting|from|parsing|running|connecting|tokenizing|response|retrieving|loading|reading|accessing|converting|\d))",
        r"(?:errore|erreur|fehler|erro|hata|fout|błąd|ошибка|помилка|lỗi|kesalahan|fel|fejl|virhe)\b ?[:!]",
        longest=ANY,
    ),
    kind(
        "rate limit",
        r".{0,80}\b(?:rate|request|usage|quota|call|query|daily|monthly|api|length|size|plan)[- ]limit(?:s|ing)?\b.{0,20}(?:exceed|reach|hit\b|apply|applies)",
        r".{0,60}\btoo many (?:\w+ )?(?:requests|calls|attempts|queries|connections)|.{0,60}\b(?:are|is|been|was) (?:being )?throttl|.{0,30}\bquota_?exceeded",
        r".{0,40}\byou(?:'ve| have|r \w+ has)? (?:exceeded|reached|used up|run out|hit)\b|.{0,80}\bquota\b.{0,30}(?:exceed|reached|exhaust)",
        r".{0,40}\bexceed(?:s|ed|ing)? (?:the|your|its) .{0,40}(?:limit|quota|maximum)",
        r"(?=.{0,400}(?:premium|subscribe|upgrade)).{0,200}(?:rate limit|call frequency|requests per|calls per)",
        longest=500,
    ),
    kind(
        "request to correct",
        rf".{{0,160}}\bplease,? (?:\w+ly |also |either |first |re-?)?(?:{_PLEASE})(?!.{{0,60}}\b(?:inbox|receipt|thank|enjoy)\b)",
        r".{0,160}\b(?:and|then|,|or|please) (?:try|call|send it|submit)(?: it| this)? again\b|.{0,160}\btry again (?:later|in|with|after|using)\b|.{0,120}\bdid you mean\b",
        rf"(?:the |an? |your )?(?:invalid|unrecogni[sz]ed|unsupported|unexpected|malformed|undefined|illegal|incompatible|insufficient)[ :]+.{{1,120}}$",
        rf"(?:the |an? |your )?(?:unknown|missing|bad|wrong|incorrect|ambiguous|duplicate|expired|incomplete|empty|too (?:many|few)|not enough)[ :]+(?:\S+ ){{0,3}}{_INPUT}\b",
        r"(?:the |an? |your )?(?:unknown|unrecogni[sz]ed) (?:\w+ ){1,2}['\"]?\S+['\"]?(?:[,.].{0,80})?$",
        rf"(?:the |your |required |mandatory |query )*(?:{_INPUT} )?['\"`]?[a-z][\w.\[\]-]{{0,40}}['\"`]?:?(?: {_INPUT})? (?:must|should|needs to|has to) (?:not )?(?:be|have|contain|match|start|end|come|lie|supply|equal)\b",
        rf".{{0,80}}\b(?:{_INPUT}|['\"`][\w.-]+['\"`]) (?:is|are) (?:required|missing|mandatory|too (?:long|short|large|big|small|high|low)|out of (?:range|bounds)|invalid|incorrect|malformed|empty|expired|unknown|wrong|not )",
        r"['\"`]?[a-z][\w.-]{0,40}['\"`]? (?:is|are) (?:required|missing|mandatory|too (?:long|short|large|big|small|high|low)|out of range|invalid|incorrect|malformed|unknown)\b",
        rf"(?:argument|parameter|field|value|option|property) \S+ (?:expected|expects|requires|lacks|was expected)",
        r"(?:could not|couldn't|cannot|failed to|unable to) (?:parse|read|decode|understand|interpret)\b",
        rf".{{0,80}}\b{_INPUT} ['\"`]?[\w.-]+['\"`]? (?:is|are|was) (?:required|missing|mandatory|empty|invalid|incorrect|malformed|out of|too |not )",
        rf"(?:the |your )?(?:{_INPUT} )?['\"`]?[\w.-]+['\"`]? (?:cannot|can not|can't|may not|must not) be (?:empty|null|blank|negative|zero|greater|less|lower|higher|in the|before|after|used|longer|shorter)\b",
        r".{0,120}\b(?:expected|expects) .{1,60}\b(?:but |, )(?:got|received|found|was)\b|.{0,80}\b(?:must be one of|allowed values|valid (?:values|options) (?:are|is|:)|(?:available|supported) (?:tools|functions|options|values) ?(?:are|:))",
        r"(?:.{0,80}[^\w])?['\"`][\w.-]{1,40}['\"`] is (?:missing|required|invalid|unknown|not )|.{0,60}\bdid(?: not|n't) understand\b",
        r".{0,80}\b(?:is|are) not (?:a |an )?(?:valid|recogni[sz]ed|known|proper|correct|allowed|accepted|one of|in the list|a field|a parameter)\b",
        r"(?:required|mandatory) (?:\w+ )?(?:parameter|argument|field|propert\w+|option|input)s?\b|no (?:query|input|arguments?|parameters?) (?:was|were )?(?:given|provided|specified)",
        r"i need .{1,60} (?:before|to|in order)|amount of .{1,60} exceeds",
        longest=400,
    ),
    kind(
        "refusal",
        r"(?:access|permission|request|operation|transfer|payment|connection|authori[sz]ation|authentication|login|transaction|order|booking|refund|call|query|action|card|your \w+|the \w+|this \w+)(?: \w+){0,2} (?:was |is |has been |have been |were )?(?:denied|refused|rejected|declined|blocked|aborted|forbidden|disabled|suspended|revoked|failed|expired|timed out)\b",
        r"(?:sorry|oops|unfortunately|apologies|we(?:'re| are) sorry|i(?:'m| am) sorry|regrettably)\b",
        rf"{_ACTOR} (?:could|can|cannot|were|are|am|was|is|do|did|does|have|has|had)(?: ?not|n['’]t| never| no )",
        rf"{_ACTOR} (?:were |are |am |was |is |'re )?(?:unable|not able|failed|having (?:trouble|problems|difficult))",
        r"(?:failed|unable|cannot|can't|couldn't|could not|can not|impossible)(?: to)?:? \w",
        r"(?:[\w-]+ ){1,4}failed(?:[:.!,]| (?:to|because|due|with|after|as)\b|$)",
        rf".{{0,80}}\b{_IS_NOT} (?:\w+ly )?(?:supported|allowed|permitted|authori[sz]ed|authenticated|subscribed|available|implemented|enabled|configured|accessible|reachable|possible|enough|included|include|part of|have (?:access|permission)|completed|processed|sent|created|provided|given|sufficient|offer|eligible|respond|cancell?ed|connect|exist|found)\b",
        r"(?:[\w'-]+ ){1,5}not (?:supported|authori[sz]ed|permitted|allowed|implemented|available|accepted|successful)[.!]?$",
        r".{0,80}\balready (?:exists?|taken|in use|registered|booked)\b|.{0,60}\bunsuccessful",
        r"(?:not|un)[ -]?(?:supported|authori[sz]ed|authenticated|permitted|allowed|implemented|available|logged in|connected)[.!]?$",
        r".{0,60}\b(?:temporarily|currently|presently) (?:unavailable|disabled|offline|down|out of service)|.{0,60}\b(?:under|for|down for|in) maintenance\b",
        r".{0,60}\bsomething went wrong|.{0,60}\bwent wrong\b|.{0,40}\btimed? ?-?out\b[.!]?(?:$|:| after| while| waiting)|.{0,60}\b(?:session|token|key|link|code)\b.{0,20} (?:has |is |was )?expired",
        r".{0,40}\b(?:login|log-?in|authentication|payment|authorization|subscription|api key|credentials?)(?: is| are)? (?:required|needed|missing)|.{0,40}\ban api key is required",
        r"(?:connection|network|socket) (?:error|refused|reset|aborted|closed|lost|timeout)|no (?:response|answer) from |no route to |not enough \w+",
        r"only (?:the |an? )?(?:[\w-]+ ){1,6}(?:can|may|are allowed|is allowed) ",
        r".{0,60}\bdisabled for your |.{0,40}\bno (?:rights|permission|access|quota)\b",
        longest=400,
    ),
    kind(
        "not found",
        r"(?:the |an? |this |that |requested |your |any )*(?:[\w#@'\"/.:-]+ ){0,7}(?:(?:is|was|were|could|has|have|can) ?(?:not|n't)(?: be| been)?|not) found\b.{0,60}$",
        r".{0,80}\b(?:does not|doesn't|do not|don't|did not) exists?\b.{0,40}$",
        r"(?:there (?:is|are|was|were) )?no such \w",
        r"(?:there (?:is|are|was) )?no (?:\w+ ){1,3}(?:with (?:that|this|the|an?|id|name|number|code)|named|called|by (?:that|the) name|exists?|of that name|for (?:that|the) (?:id|name))\b",
        r"no (?:\w+ ){0,2}\w*[^\Ws] (?:was |could be |is )?(?:found|available)[.!]?(?: for\b.{0,60})?$",
        r"there (?:is|are|was) no (?:[\w-]+ ){1,3}[\w-]*\d[\w-]*[.!]?$",
        r"(?:we |i |it )?(?:could not|couldn't|can't|cannot|can not|unable to|did not|didn't|failed to) (?:find|locate|identify|match)\b",
        longest=200,
    ),
)
_NO_FAILURE = re.compile(
    r"(?:translat\w+|definition|quote|title|headlines?|summary|lyrics) ?:|"
    r".{0,60}\b(?:no|0|zero|without(?: any)?) (?:\w+ )?(?:errors?|issues|problems|failures|warnings)\b|"
    r".{0,40}\bno (?:\w+ ){0,2}(?:results?|records?|matches|entries|rows|items|documents)\b(?! with)|"
    r".{0,80}(?<!not )\b(?:success(?:ful|fully)?|succeeded|as requested)\b(?! (?:rate|flag))"
)
_CODE_WORD = re.compile(
    r"error|invalid|denied|forbidden|unauthori[sz]ed|unauthenticated|exceeded|over_query|over_\w*limit|missing|not_?found|nosuch|"
    r"expired|unsupported|timeout|timed_out|unavailable|failed|failure|exception|conflict|rejected|bad_?request|too_?many|throttl",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z]+(?:[_.-][A-Za-z0-9]+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+|[A-Z]{5,40}")


def text_failed(text: str) -> str | None:
    """Why a plain text (stripped) reports failure: the kind and the words that tell it; None where it does not."""
    if len(text) > ANY:
        text = f"{text[:HEAD]}\n{text[-TAIL:]}"
    lowered = text.lower()
    excused = _NO_FAILURE.match(lowered) is not None
    told = next((kind for kind in KINDS if kind.told_by(text, lowered) and not (excused and kind.longest < ANY)), None)
    if told is None and not excused:
        told = said_elsewhere(text, lowered)
    return None if told is None else f"{told.name}: {excerpt(text)}"


def code_failed(text: str) -> str | None:
    """Why a machine's word (`OVER_QUERY_LIMIT`, `AccessDenied`) names a failure; None for other texts."""
    if len(text) <= 60 and _CODE.fullmatch(text) and _CODE_WORD.search(text):
        return f"error code: {text}"
    return None
