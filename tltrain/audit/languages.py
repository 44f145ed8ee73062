"""Failure messages in languages other than English, which are detected in short answers only.

There is one kind per language. Phrases that may also report an empty search ("keine Treffer", "no se encontraron
resultados") are not included.
"""

from __future__ import annotations

import re

from tltrain.audit.kinds import Kind, kind

LONGEST = 250
_CJK = 80
"""Number of Chinese, Japanese or Korean characters that say as much as LONGEST characters of Latin script."""


def _language(name: str, *patterns: str, longest: int = LONGEST) -> Kind:
    return kind(f"failure said in {name}", *patterns, longest=longest, within=True)


LATIN = (
    kind(
        "error text",
        r"(?:errore|erreur|fehler|erro|hata|fout|błąd|ошибка|помилка|lỗi|kesalahan|fel|fejl|virhe)\b ?[:!]",
        longest=2_000,
    ),
    _language(
        "Spanish",
        r"\bno se (?:pudo|puede|pudieron|ha podido|permite|encontr[óo]|reconoce|admite)(?! resultado)|\bno (?:es|"
        r"son|está) (?:un[ao]? )?"
        r"(?:válid|correct|disponible|autorizad|permitid)|\binválid[oa]|\b(?:acceso|permiso|solicitud|"
        r"pago) (?:denegad|rechazad|fallid)|"
        r"\bno (?:autorizad|encontrad|disponible|permitid|existe|tiene permiso)|\b(?:intente|inténtelo|intenta|"
        r"inténtalo|vuelva a)\b|"
        r"\bpor favor,? (?:introduzca|proporcione|especifique|indique|ingrese|verifique|inicie)|\bes obligatori|"
        r"\bfalta (?:el|la|un)|"
        r"\bdesconocid[oa]\b|\b(?:saldo|fondos|crédito) insuficiente|\b(?:ha )?(?:falló|fallado|caducad|superado|"
        r"excedid)|\blímite .{0,20}(?:excedid|alcanzad|superad)|\bsolicitud incorrecta",
    ),
    _language(
        "Portuguese",
        r"\bnão (?:foi possível|foi encontrad|encontrad|autorizad|permitid|existe|disponível|é válid|suportad|pode)|"
        r"\binválid[oa]|"
        r"\bacesso negado|\bobrigatóri[oa]|\btente (?:novamente|de novo)|\bpor favor,? (?:informe|forneça|insira|"
        r"verifique|tente|faça)|"
        r"\bfalha (?:ao|na|no|de)\b|\blimite .{0,20}(?:excedid|atingid)|\bexpirou|\bexpirad[oa]|\bdesconhecid[oa]|"
        r"\bocorreu um erro",
    ),
    _language(
        "French",
        r"\bintrouvable|\bn['’](?:a|ont|est|existe|existent|êtes|avez)\b.{0,20}\b(?:pas|plus|aucun)\b|"
        r"\bimpossible de |\b(?:non|pas) "
        r"(?:trouvé|valide|autorisé|disponible|reconnu|pris en charge)|\binvalide|\baccès (?:refusé|interdit)|"
        r"\bréessay|\bveuillez "
        r"(?:fournir|saisir|entrer|vérifier|indiquer|préciser|spécifier|vous|réessayer|renseigner)|"
        r"\best (?:obligatoire|requis|manquant)|"
        r"\b(?:temporairement )?indisponible|\béchec|\ba échoué|\b(?:limite|quota) .{0,20}(?:dépassé|atteint)|"
        r"\binconnue?\b|\ba expiré|\b(?:solde|fonds|crédits?) insuffisant|\bune erreur",
    ),
    _language(
        "German",
        r"\bungültig|\bnicht (?:gefunden|möglich|autorisiert|berechtigt|erlaubt|gestattet|zulässig|unterstützt|"
        r"verfügbar|erreichbar|"
        r"vorhanden|bekannt|angemeldet|erkannt|bearbeitet)|\bverweigert|\bkonnten? (?:leider )?(?:\w+ ){0,4}nicht|"
        r"\bexistier(?:t|en) nicht|"
        r"\bbitte (?:\w+ )?(?:geben|prüfen|überprüfen|versuchen|melden|wählen|angeben)|\bfehlgeschlagen|"
        r"\bes fehl(?:t|en)|\bfalsche[nrms]? (?:format|passwort|eingabe|wert|typ|datum)|"
        r"\bfehlende[rs]? (?:\w+ )?(?:parameter|argument|feld|wert|angabe|eingabe)|"
        r"\bunbekannte[rsn]?\b|\büberschritten|\babgelaufen|\berforderlich|\babgelehnt|\bzu viele (?:anfragen|"
        r"versuche)|\bein fehler",
    ),
    _language(
        "Italian",
        r"\bnon (?:è (?:valid|stato possibile|stata? trovat|disponibil|autorizzat|consentit)|trovat|valid|"
        r"autorizzat|disponibil|esiste)|"
        r"\binvalid[oa]\b|\baccesso negato|\briprova|\bsi prega di (?:fornire|inserire|specificare|verificare|"
        r"riprovare)|\bobbligatori[oa]|"
        r"\bimpossibile |\brichiesta (?:fallita|rifiutata)|\bsi è verificato un errore|\bscadut[oa]",
    ),
    _language(
        "Dutch",
        r"\bongeldig|\bniet (?:gevonden|toegestaan|mogelijk|beschikbaar|geautoriseerd|ondersteund|herkend)|"
        r"\btoegang geweigerd|"
        r"\bprobeer (?:het )?(?:later )?opnieuw|\bbestaat niet|\bis (?:verplicht|verlopen)|\bonbekende?\b|\bmislukt|"
        r"\ber is een fout",
    ),
    _language(
        "Turkish or Polish",
        r"\bgeçersiz|\bbulunamadı|\bgerekli(?:dir)?\b|\btekrar deneyin|\breddedildi|\bbaşarısız|\byetkiniz yok|"
        r"\bdesteklenmiyor",
        r"\bnieprawidłow|\bnie (?:znaleziono|można|udało się|istnieje|ma uprawnień)(?! wynik)|\bodmowa dostępu|"
        r"\bspróbuj ponownie|\bwymagan",
    ),
    _language(
        "Vietnamese or Indonesian",
        r"\bkhông (?:hợp lệ|tìm thấy|thể|tồn tại|được phép|có quyền)|\bthử lại|\bbị từ chối|\bvui lòng (?:nhập|"
        r"cung cấp|thử)",
        r"\btidak (?:valid|ditemukan|dapat|diizinkan|tersedia|didukung)|\bcoba lagi|\bditolak|\bgagal\b|\bwajib diisi",
    ),
)
OTHER_SCRIPTS = (
    _language(
        "Chinese",
        r"(?:(?<=.)(?:错误|錯誤)(?=\W|$)|(?:错误|錯誤)(?=\W)|(?:失败|失敗)(?!率))|频率过高|頻率過高|繁忙|无效|無效|"
        r"不存在|未找到|"
        r"找不到|(?:没有|无|無).{0,4}(?:权限|權限)|无权|未授权|未登录|超过|超出|达到.{0,6}上限|已达|"
        r"(?:请|請)(?:重新|重试|稍[后後候].{0,3}试|提供|检查|檢查|先|输入|輸入|确认|填写)|不支持|不能为空|不可为空|"
        r"缺少|不正确|不合法|(?:余额|库存|权限|额度|积分|资金|配额|餘額).{0,2}不足|拒绝|拒絕|"
        r"禁止|非法|异常|異常|超时|超時|无法|無法|过期|過期|频繁|未知的|必填|必须",
        longest=_CJK,
    ),
    _language(
        "Japanese",
        r"エラー(?!率|コード|一覧)|失敗(?!率)|無効|見つかりません(?!.{0,4}でした.{0,4}結果)|できません|不正な|"
        r"不正です|権限が|拒否|もう一度|再度|お試しください|多すぎ|期限切れ|"
        r"必須|存在しません|入力してください|指定してください|タイムアウト|サポートされていません|利用できません|"
        r"必要です|足りません",
        longest=_CJK + 40,
    ),
    _language(
        "Korean",
        r"오류|실패|잘못된|찾을 수 없|할 수 없|수 없습니다|권한이|거부|다시 시도|초과|유효하지 않|올바르지 않|필수|"
        r"만료|지원하지 않|존재하지 않|입력해 ?주|입력하세요|필요합니다|부족합니다",
        longest=_CJK + 40,
    ),
    _language(
        "Russian",
        r"ошибк|невер[не]|недопустим|некорректн|недействительн|не (?:найден[аы]?\b|удалось|существует|"
        r"поддерживается|указан|доступен|авторизован|разрешен|может быть пуст)|"
        r"запрещ|отказан|отклонен|превышен|слишком много|попробуйте|повторите|обязател|истек|неизвестн|недоступн|"
        r"введите|укажите|недостаточно|сбой",
        r"помилк|невірн|недійсн|не знайден[аий]?\b|не вдалося|заборонен|спробуйте|перевищен",
    ),
    _language(
        "Arabic",
        r"خطأ|غير (?:صالح|صحيح|موجود|متاح|مسموح|مصرح|مدعوم|معروف)|فشل|رفض|مرفوض|تعذر|لا يمكن|لم يتم العثور|غير قادر|"
        r"حاول مرة|يرجى (?:إدخال|تقديم|المحاولة|التحقق|تحديد)|تجاوز|مطلوب|انتهت صلاحية|ممنوع|لا يوجد (?:مستخدم|حساب)",
        r"שגיאה|לא נמצא|לא חוקי|נדחה|נסה שוב|خطا|نامعتبر|یافت نشد",
    ),
    _language(
        "Hindi or Thai",
        r"अमान्य|त्रुटि|विफल|नहीं मिला|अनुमति नहीं|पुनः प्रयास|अस्वीकृत|आवश्यक है|गलत|असमर्थ",
        r"ข้อผิดพลาด|ไม่ถูกต้อง|ไม่พบ|ล้มเหลว|ปฏิเสธ|ลองใหม่|ไม่ได้รับอนุญาต|ไม่สามารถ|หมดอายุ",
    ),
)
_NOT_FAILURES = re.compile(
    r"translat|übersetzung|traduc|tradu[çz]|перевод|翻译|翻訳|"
    r"\b(?:sin|ningún|aucun|keine?|nenhum|nessun|geen|kein) (?:\w+ )?(?:error|resultado|erreur|résultat|fehler|"
    r"treffer|ergebnis|erro|errore|risultat|fout)|"
    r"成功|没有错误|無錯誤|无错误|没有.{0,4}结果|正常|エラーはありません|成功しました|결과가 없|오류 없|успешно|"
    r"ошибок нет|без ошибок|результат\w* не|"
    r"\b(?:con éxito|com sucesso|avec succès|erfolgreich|con successo|exitosamente)\b|بنجاح"
)
_ENGLISH = re.compile(r"\b(?:the|and|of|to|for|with|you|your|been|this|are|from|by|not)\b")
_BEYOND_LATIN = re.compile(r"[^\x00-\u024f\u1e00-\u1eff\u2000-\u206f]")


def failure_in_other_language(text: str, lowered: str) -> Kind | None:
    """The kind of failure that a short answer in another language reports; None if it reports no failure."""
    if len(text) > LONGEST:
        return None
    latin = _BEYOND_LATIN.search(text) is None
    if latin and _ENGLISH.search(lowered):
        return None
    found = next((kind for kind in (LATIN if latin else OTHER_SCRIPTS) if kind.matches(text, lowered)), None)
    return None if found is None or _NOT_FAILURES.search(lowered) else found
